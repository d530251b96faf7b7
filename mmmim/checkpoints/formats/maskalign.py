"""Official MaskAlign's weights: timm's names, the alignment's, and maybe the teacher's."""

import re

from torch import Tensor

from mmmim.checkpoints.formats.common import BLOCK, Format


def _without_unread(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Without what the loss has never read: heads whose biases are still zero, and the final norm.

    The official code makes a head and a row of `distill_weights` for every teacher layer, whichever
    layers the loss reads ("top5": five).
    """
    heads = sorted({int(k.split(".")[1]) for k in state if k.startswith("distill_heads.")})
    unread = [
        i
        for i in heads
        if not any(v.any() for k, v in state.items() if re.fullmatch(rf"distill_heads\.{i}\..*bias", k))
    ]
    unread = [] if unread == heads else unread  # a file from before the first step
    dropped = tuple(f"distill_heads.{i}." for i in unread)
    kept = {k: v for k, v in state.items() if not k.startswith(("norm.", *dropped))}
    if "distill_weights" in kept:
        kept["distill_weights"] = kept["distill_weights"][[i for i in heads if i not in unread]]
    return kept, [k for k in state if k not in kept]


MASKALIGN = Format(
    "official MaskAlign",
    r"distill_heads\.\d+\..*weight",
    (
        (r"(cls_token|pos_embed|patch_embed\.proj\.\w+)", r"backbone.\1"),
        (rf"(blocks\.\d+\.{BLOCK})", r"backbone.\1"),
        (r"distill_weights", "alignment.weights"),
        (r"distill_heads\.(.*)", r"alignment.heads.\1"),
    ),
    prepare=_without_unread,
)
