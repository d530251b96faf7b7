"""MixMIM weights: official and mmpretrain's."""

import re

from torch import Tensor

from mmmim.checkpoints.formats.base import (
    MAE_CLASSIFIER,
    MAE_DECODER,
    MMPRETRAIN_BLOCK,
    MMPRETRAIN_DECODER,
    Format,
    KeyMap,
    State,
    block_keys,
    mmpretrain_decoder,
    register_format,
    same,
)
from mmmim.layers.attention import relative_position_index

_MERGING = r"backbone\.layers\.\d\.downsample\.(norm|reduction)\.\w+"
_ENCODER: KeyMap = (
    *same("backbone.", "absolute_pos_embed", "patch_embed.proj.{wb}", "patch_embed.norm.{wb}"),
    *same("backbone.", "norm.{wb}"),
    *block_keys("layers.{i}.blocks.{j}", "backbone.layers.{i}.blocks.{j}"),
    *same("backbone.", "layers.{i}.downsample.norm.{wb}", "layers.{i}.downsample.reduction.{wb}"),
    (
        "layers.{i}.blocks.{j}.attn.relative_position_bias_table",
        "backbone.layers.{i}.blocks.{j}.attn.relative_position.table",
    ),
)
_MMPRETRAIN_ENCODER: KeyMap = (
    *same("backbone.", "absolute_pos_embed", "patch_embed.norm.{wb}", theirs="backbone."),
    *same("backbone.", "norm.{wb}", theirs="backbone."),
    ("backbone.patch_embed.projection.{wb}", "backbone.patch_embed.proj.{wb}"),
    *same(
        "backbone.",
        "layers.{i}.downsample.norm.{wb}",
        "layers.{i}.downsample.reduction.{wb}",
        theirs="backbone.",
    ),
    (
        "backbone.layers.{i}.blocks.{j}.attn.relative_position_bias_table",
        "backbone.layers.{i}.blocks.{j}.attn.relative_position.table",
    ),
    *block_keys("backbone.layers.{i}.blocks.{j}", "backbone.layers.{i}.blocks.{j}", MMPRETRAIN_BLOCK),
)


def _to_timm_order(name: str, value: Tensor) -> Tensor:
    """Patch merging: mmcv orders a square by channel, timm by token, column-major."""
    if not re.fullmatch(_MERGING, name):
        return value
    return value.unflatten(-1, (-1, 2, 2)).movedim((-1, -2, -3), (-3, -2, -1)).flatten(-3)


def _to_mmcv_order(name: str, value: Tensor) -> Tensor:
    """Inverse of `_to_timm_order`."""
    if not re.fullmatch(_MERGING, name):
        return value
    return value.unflatten(-1, (2, 2, -1)).movedim((-3, -2, -1), (-1, -2, -3)).flatten(-3)


def _with_window_indices(state: State) -> State:
    """Swin's code stores as a buffer which entry of the table belongs to which pair of tokens."""
    end = "relative_position_bias_table"
    indices = {}
    for name in (key for key in state if key.endswith(end)):
        side = (round(len(state[name]) ** 0.5) + 1) // 2
        index = relative_position_index((side, side), (side, side), state[name].device)[1:, 1:]
        indices[name.replace(end, "relative_position_index")] = index
    return {**state, **indices}


MIXMIM = register_format(
    Format(
        "mixmim",
        "official MixMIM",
        signature=r"absolute_pos_embed",
        keys=(*_ENCODER, *MAE_DECODER, *MAE_CLASSIFIER),
        exported=(*_ENCODER, *MAE_DECODER),
        after_export=_with_window_indices,
    )
)
MMPRETRAIN_MIXMIM = register_format(
    Format(
        "mmpretrain-mixmim",
        "mmpretrain's MixMIM",
        signature=r"backbone\.layers\.0\.blocks\.0\.ln1\.weight",
        keys=(*_MMPRETRAIN_ENCODER, *MMPRETRAIN_DECODER),
        value_in=_to_timm_order,
        value_out=_to_mmcv_order,
        exported=(*_MMPRETRAIN_ENCODER, *mmpretrain_decoder("ln1")),
        after_export=_with_window_indices,
    )
)
