"""ViT's weights elsewhere: official MAE and timm, mmselfsup and mmpretrain, detectron2's ViTDet."""

import torch
from torch import Tensor

from mmmim.checkpoints.formats.common import (
    BLOCK,
    MAE_CLASSIFIER,
    MAE_DECODER,
    MMPRETRAIN_DECODER,
    MMPRETRAIN_LAYERS,
    Format,
    detectron2_heads,
    rename,
)


def _merge_biases(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Long-sequence MAE's variant without a key bias: `q_bias` and `v_bias` -> `qkv.bias`.

    facebookresearch/long_seq_mae tools/convert_model_ckpt_k_bias.py.
    """
    merged = dict(state)
    for name in [k for k in state if k.endswith("attn.q_bias")]:
        query = merged.pop(name)
        value = merged.pop(name.replace("q_bias", "v_bias"))
        merged[name.replace("q_bias", "qkv.bias")] = torch.cat([query, torch.zeros_like(query), value])
    return merged, []


MAE = Format(
    "official MAE or timm",
    r"blocks\.0\.norm1\.weight",
    (
        (r"(cls_token|pos_embed|patch_embed\.proj\.\w+|norm\.\w+)", r"backbone.\1"),
        (rf"(blocks\.\d+\.(?:{BLOCK}|ls[12]\.gamma))", r"backbone.\1"),
        *MAE_DECODER,
        *MAE_CLASSIFIER,
    ),
    prepare=_merge_biases,
)
MMPRETRAIN = Format(
    "mmselfsup, mmcls or mmpretrain",
    r"backbone\.layers\.0\.ln1\.weight",
    (
        (r"backbone\.(cls_token|pos_embed)", r"backbone.\1"),
        (r"backbone\.patch_embed\.projection\.(\w+)", r"backbone.patch_embed.proj.\1"),
        *(
            (rf"backbone\.layers\.(\d+)\.{theirs}\.(\w+)", rf"backbone.blocks.\1.{ours}.\2")
            for theirs, ours in MMPRETRAIN_LAYERS
        ),
        (r"backbone\.ln1\.(\w+)", r"backbone.norm.\1"),
        *MMPRETRAIN_DECODER,
    ),
)
VITDET = Format(
    "detectron2 ViTDet",
    r"backbone\.net\.blocks\.0\.norm1\.weight",
    (
        (r"backbone\.net\.(pos_embed|patch_embed\.proj\.\w+)", r"backbone.\1"),
        (rf"backbone\.net\.(blocks\.\d+\.{BLOCK})", r"backbone.\1"),
        (
            r"backbone\.net\.(blocks\.\d+\.attn)\.(rel_pos_[hw])",
            r"backbone.\1.relative_position.\2",
        ),
        (r"backbone\.simfp_(\d)\.(.*)", r"neck.simfp_\1.\2"),
        *detectron2_heads("ln"),
    ),
)


def to_timm(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Our weights under timm's names for a plain `VisionTransformer`, and what timm cannot hold.

    Without a class token (timm's `class_token=False`), the positions have no row for it there.
    """
    if "backbone.pos_embed" in state and "backbone.cls_token" not in state:
        state = {**state, "backbone.pos_embed": state["backbone.pos_embed"][:, 1:]}
    names = r"(cls_token|pos_embed|patch_embed\.proj\.\w+|norm\.\w+)"
    return rename(
        state,
        (
            (rf"backbone\.{names}", r"\1"),
            (rf"backbone\.(blocks\.\d+\.(?:{BLOCK}|ls[12]\.gamma))", r"\1"),
        ),
    )
