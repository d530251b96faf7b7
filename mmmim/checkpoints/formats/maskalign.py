"""Official MaskAlign weights: timm's names, the alignment's, and possibly the teacher's."""

import re

from mmmim.checkpoints.formats.base import Format, State, block_keys, register_format, same


def _without_untrained(state: State) -> tuple[State, list[str]]:
    """Drop what the loss never read: heads whose biases are still zero, and the final norm.

    The official code has a head and a row of `distill_weights` for every teacher layer, whichever
    layers are in the loss ("top5": five).
    """
    heads = sorted({int(key.split(".")[1]) for key in state if key.startswith("distill_heads.")})
    untrained = [i for i in heads if not _has_trained_bias(state, i)]
    untrained = [] if untrained == heads else untrained  # a file from before the first step
    dropped = tuple(f"distill_heads.{i}." for i in untrained)
    kept = {key: value for key, value in state.items() if not key.startswith(("norm.", *dropped))}
    if "distill_weights" in kept:
        rows = [i for i in heads if i not in untrained]
        kept["distill_weights"] = kept["distill_weights"][rows]
    return kept, [key for key in state if key not in kept]


def _has_trained_bias(state: State, head: int) -> bool:
    biases = (v for k, v in state.items() if re.fullmatch(rf"distill_heads\.{head}\..*bias", k))
    return any(bool(bias.any()) for bias in biases)


MASKALIGN = register_format(
    Format(
        "maskalign",
        "official MaskAlign",
        signature=r"distill_heads\.\d+\..*weight",
        keys=(
            *same("backbone.", "cls_token", "pos_embed", "patch_embed.proj.{wb}"),
            *block_keys("blocks.{i}", "backbone.blocks.{i}"),
            ("distill_weights", "alignment.weights"),
            ("distill_heads.{rest}", "alignment.heads.{rest}"),
        ),
        prepare=_without_untrained,
    )
)
