"""Who wrote these weights, and what are they called here?

Every format is a table of (pattern, replacement); a key that no pattern matches has no place in a
pretraining method or backbone (a classifier head, say) and is left out, by name.
"""

import re
from dataclasses import dataclass

from torch import Tensor

Rules = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Format:
    """A naming of weights.

    Attributes:
        description: for messages.
        signature: a key that only this format has, as a pattern.
        rules: (pattern, replacement) from its names to ours; the first match wins.
    """

    description: str
    signature: str
    rules: Rules


# Inside a block, ours are timm's names.
_BLOCK = r"(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(weight|bias)"
# mmpretrain's name of a layer inside a block -> ours.
_MMPRETRAIN_LAYERS = (
    (r"ln1", "norm1"),
    (r"ln2", "norm2"),
    (r"attn\.qkv", "attn.qkv"),
    (r"attn\.proj", "attn.proj"),
    (r"ffn\.layers\.0\.0", "mlp.fc1"),
    (r"ffn\.layers\.1", "mlp.fc2"),
)

FORMATS: dict[str, Format] = {
    "mmmim": Format(
        "this project's",
        r"backbone\.blocks\.0\.norm1\.weight",
        ((r"(.*)", r"\1"),),
    ),
    "vitdet": Format(
        "detectron2 ViTDet",
        r"backbone\.net\.blocks\.0\.norm1\.weight",
        (
            (r"backbone\.net\.(pos_embed|patch_embed\.proj\.\w+)", r"backbone.\1"),
            (rf"backbone\.net\.(blocks\.\d+\.{_BLOCK})", r"backbone.\1"),
            (
                r"backbone\.net\.(blocks\.\d+\.attn)\.(rel_pos_[hw])",
                r"backbone.\1.relative_position.\2",
            ),
            (r"backbone\.simfp_(\d)\.(.*)", r"neck.simfp_\1.\2"),
        ),
    ),
    "mmpretrain": Format(
        "mmselfsup, mmcls or mmpretrain",
        r"backbone\.layers\.0\.ln1\.weight",
        (
            (r"backbone\.(cls_token|pos_embed)", r"backbone.\1"),
            (r"backbone\.patch_embed\.projection\.(\w+)", r"backbone.patch_embed.proj.\1"),
            *(
                (rf"backbone\.layers\.(\d+)\.{theirs}\.(\w+)", rf"backbone.blocks.\1.{ours}.\2")
                for theirs, ours in _MMPRETRAIN_LAYERS
            ),
            (r"backbone\.ln1\.(\w+)", r"backbone.norm.\1"),
            (r"neck\.mask_token", r"decoder.mask_token"),
            (r"neck\.decoder_(pos_embed|embed\.\w+|pred\.\w+)", r"decoder.\1"),
            *(
                (rf"neck\.decoder_blocks\.(\d+)\.{theirs}\.(\w+)", rf"decoder.blocks.\1.{ours}.\2")
                for theirs, ours in _MMPRETRAIN_LAYERS
            ),
            (r"neck\.(?:ln1|decoder_norm)\.(\w+)", r"decoder.norm.\1"),
        ),
    ),
    "mae": Format(
        "official MAE or timm",
        r"blocks\.0\.norm1\.weight",
        (
            (r"(cls_token|pos_embed|patch_embed\.proj\.\w+|norm\.\w+)", r"backbone.\1"),
            (rf"(blocks\.\d+\.(?:{_BLOCK}|ls[12]\.gamma))", r"backbone.\1"),
            (r"mask_token", r"decoder.mask_token"),
            (r"decoder_(pos_embed|embed\.\w+|norm\.\w+|pred\.\w+)", r"decoder.\1"),
            (rf"decoder_(blocks\.\d+\.{_BLOCK})", r"decoder.\1"),
        ),
    ),
}


def recognise(state: dict[str, Tensor]) -> str:
    """Name of the format of these weights, a key of FORMATS.

    Raises:
        ValueError: none fits.
    """
    for name, spec in FORMATS.items():
        if any(re.fullmatch(spec.signature, key) for key in state):
            return name
    known = ", ".join(f"{name} ({spec.description})" for name, spec in FORMATS.items())
    raise ValueError(
        f"no key of the checkpoint fits a known format; known are {known}; "
        f"the checkpoint begins with {list(state)[:3]}"
    )


def to_mmmim(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Weights of any known format under our names, and the keys that have no place here.

    Raises:
        ValueError: the format is not known.
    """
    return _rename(state, FORMATS[recognise(state)].rules)


def to_timm(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Our weights under timm's names for a plain `VisionTransformer`, and what timm cannot hold."""
    names = r"(cls_token|pos_embed|patch_embed\.proj\.\w+|norm\.\w+)"
    return _rename(
        state,
        (
            (rf"backbone\.{names}", r"\1"),
            (rf"backbone\.(blocks\.\d+\.(?:{_BLOCK}|ls[12]\.gamma))", r"\1"),
        ),
    )


def to_backbone(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The backbone's weights alone, names kept, and the keys left out."""
    return _rename(state, ((r"(backbone\..*)", r"\1"),))


def _rename(state: dict[str, Tensor], rules: Rules) -> tuple[dict[str, Tensor], list[str]]:
    renamed, left_out = {}, []
    for key, value in state.items():
        for pattern, replacement in rules:
            if match := re.fullmatch(pattern, key):
                renamed[match.expand(replacement)] = value
                break
        else:
            left_out.append(key)
    return renamed, left_out
