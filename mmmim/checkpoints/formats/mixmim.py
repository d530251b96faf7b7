"""MixMIM's weights elsewhere: the official code's and mmpretrain's."""

import re

from torch import Tensor

from mmmim.checkpoints.formats.common import (
    BLOCK,
    MAE_CLASSIFIER,
    MAE_DECODER,
    MMPRETRAIN_DECODER,
    MMPRETRAIN_LAYERS,
    Format,
    rename,
)
from mmmim.layers.relative_positions import offset_index

# MixMIM's encoder outside its attention, whose names are ours.
_MIXMIM = (
    r"(absolute_pos_embed|patch_embed\.(?:proj|norm)\.\w+|norm\.\w+"
    rf"|layers\.\d\.blocks\.\d+\.{BLOCK}|layers\.\d\.downsample\.(?:norm|reduction)\.\w+)"
)
_PLAIN_LAYERS = tuple((t.replace("\\", ""), o) for t, o in MMPRETRAIN_LAYERS)


def _timm_order_of_mmcv(name: str, value: Tensor) -> Tensor:
    """Patch merging: mmcv unfolds a square channel by channel, timm column by column of tokens."""
    if not re.fullmatch(r"backbone\.layers\.\d\.downsample\.(norm|reduction)\.\w+", name):
        return value
    return value.unflatten(-1, (-1, 2, 2)).movedim((-1, -2, -3), (-3, -2, -1)).flatten(-3)


def _mmcv_order_of_timm(name: str, value: Tensor) -> Tensor:
    """Undoes `_timm_order_of_mmcv`."""
    if not re.fullmatch(r"backbone\.layers\.\d\.downsample\.(norm|reduction)\.\w+", name):
        return value
    return value.unflatten(-1, (2, 2, -1)).movedim((-3, -2, -1), (-1, -2, -3)).flatten(-3)


MIXMIM = Format(
    "official MixMIM",
    r"absolute_pos_embed",
    (
        (_MIXMIM, r"backbone.\1"),
        (
            r"(layers\.\d\.blocks\.\d+\.attn)\.relative_position_bias_table",
            r"backbone.\1.relative_position.table",
        ),
        *MAE_DECODER,
        *MAE_CLASSIFIER,
    ),
)
MMPRETRAIN_MIXMIM = Format(
    "mmpretrain's MixMIM",
    r"backbone\.layers\.0\.blocks\.0\.ln1\.weight",
    (
        (r"backbone\.(absolute_pos_embed|norm\.\w+|patch_embed\.norm\.\w+)", r"backbone.\1"),
        (r"backbone\.patch_embed\.projection\.(\w+)", r"backbone.patch_embed.proj.\1"),
        (r"backbone\.(layers\.\d\.downsample\.(?:norm|reduction)\.\w+)", r"backbone.\1"),
        (
            r"backbone\.(layers\.\d\.blocks\.\d+\.attn)\.relative_position_bias_table",
            r"backbone.\1.relative_position.table",
        ),
        *(
            (rf"backbone\.(layers\.\d\.blocks\.\d+)\.{theirs}\.(\w+)", rf"backbone.\1.{ours}.\2")
            for theirs, ours in MMPRETRAIN_LAYERS
        ),
        *MMPRETRAIN_DECODER,
    ),
    _timm_order_of_mmcv,
)


def to_mixmim(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """A `MixMIM` or its backbone under the official names, with the buffers that their code keeps."""
    renamed, left_out = rename(
        state,
        (
            (rf"backbone\.{_MIXMIM}", r"\1"),
            (r"backbone\.(.*\.attn)\.relative_position\.table", r"\1.relative_position_bias_table"),
            (r"decoder\.mask_token", r"mask_token"),
            (r"decoder\.(.*)", r"decoder_\1"),
        ),
    )
    return _with_window_indices(renamed), left_out


def to_mmpretrain_mixmim(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """A `MixMIM` or its backbone as mmpretrain's."""
    reordered = {name: _mmcv_order_of_timm(name, value) for name, value in state.items()}
    renamed, left_out = rename(
        reordered,
        (
            (r"backbone\.patch_embed\.proj\.(\w+)", r"backbone.patch_embed.projection.\1"),
            (r"(backbone\..*\.attn)\.relative_position\.table", r"\1.relative_position_bias_table"),
            *(
                (rf"(backbone\.layers\.\d\.blocks\.\d+)\.{re.escape(ours)}\.(\w+)", rf"\1.{theirs}.\2")
                for theirs, ours in _PLAIN_LAYERS
            ),
            (r"(backbone\.(?:absolute_pos_embed|norm\.\w+|patch_embed\.norm\.\w+))", r"\1"),
            (r"(backbone\.layers\.\d\.downsample\..*)", r"\1"),
            (r"decoder\.mask_token", r"neck.mask_token"),
            *(
                (rf"decoder\.(blocks\.\d+)\.{re.escape(ours)}\.(\w+)", rf"neck.decoder_\1.{theirs}.\2")
                for theirs, ours in _PLAIN_LAYERS
            ),
            (r"decoder\.norm\.(\w+)", r"neck.ln1.\1"),
            (r"decoder\.(pos_embed|embed\.\w+|pred\.\w+)", r"neck.decoder_\1"),
        ),
    )
    return _with_window_indices(renamed), left_out


def _with_window_indices(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Swin's code keeps which entry of a table belongs to which pair of tokens as a buffer."""
    end = "relative_position_bias_table"
    for name in [n for n in state if n.endswith(end)]:
        side = (round(len(state[name]) ** 0.5) + 1) // 2
        index = offset_index((side, side), (side, side), state[name].device)[1:, 1:]
        state[name.replace(end, "relative_position_index")] = index
    return state
