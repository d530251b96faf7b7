"""ViT weights: official MAE and timm, mmselfsup and mmpretrain, detectron2's ViTDet."""

import torch

from mmmim.checkpoints.formats.base import (
    MAE_CLASSIFIER,
    MAE_DECODER,
    MMPRETRAIN_BLOCK,
    MMPRETRAIN_DECODER,
    Format,
    KeyMap,
    State,
    block_keys,
    detectron2_heads,
    register_format,
    same,
)

TIMM_ENCODER: KeyMap = (
    *same("backbone.", "cls_token", "pos_embed", "patch_embed.proj.{wb}", "norm.{wb}"),
    *block_keys("blocks.{i}", "backbone.blocks.{i}"),
    ("blocks.{i}.ls{j}.gamma", "backbone.blocks.{i}.ls{j}.gamma"),
)


def _merge_biases(state: State) -> tuple[State, list[str]]:
    """LSMAE's variant without a key bias: `q_bias` and `v_bias` -> `qkv.bias`.

    facebookresearch/long_seq_mae tools/convert_model_ckpt_k_bias.py.
    """
    merged = dict(state)
    for name in [key for key in state if key.endswith("attn.q_bias")]:
        query = merged.pop(name)
        value = merged.pop(name.replace("q_bias", "v_bias"))
        merged[name.replace("q_bias", "qkv.bias")] = torch.cat([query, torch.zeros_like(query), value])
    return merged, []


def _without_cls_position(state: State) -> State:
    """timm's models without class token (`class_token=False`) have no position for it."""
    if "backbone.pos_embed" not in state or "backbone.cls_token" in state:
        return state
    return {**state, "backbone.pos_embed": state["backbone.pos_embed"][:, 1:]}


MAE = register_format(
    Format(
        "mae",
        "official MAE or timm",
        signature=r"blocks\.0\.norm1\.weight",
        not_with=r"distill_heads\..*",  # official MaskAlign
        keys=(*TIMM_ENCODER, *MAE_DECODER, *MAE_CLASSIFIER),
        prepare=_merge_biases,
        exported=TIMM_ENCODER,
        export_name="timm",
        before_export=_without_cls_position,
    )
)
MMPRETRAIN = register_format(
    Format(
        "mmpretrain",
        "mmselfsup, mmcls or mmpretrain",
        signature=r"backbone\.layers\.0\.ln1\.weight",
        keys=(
            *same("backbone.", "cls_token", "pos_embed", theirs="backbone."),
            ("backbone.patch_embed.projection.{wb}", "backbone.patch_embed.proj.{wb}"),
            *block_keys("backbone.layers.{i}", "backbone.blocks.{i}", MMPRETRAIN_BLOCK),
            ("backbone.ln1.{wb}", "backbone.norm.{wb}"),
            *MMPRETRAIN_DECODER,
        ),
    )
)
VITDET = register_format(
    Format(
        "vitdet",
        "detectron2 ViTDet",
        signature=r"backbone\.net\.blocks\.0\.norm1\.weight",
        keys=(
            *same("backbone.", "pos_embed", "patch_embed.proj.{wb}", theirs="backbone.net."),
            *block_keys("backbone.net.blocks.{i}", "backbone.blocks.{i}"),
            *(
                (
                    f"backbone.net.blocks.{{i}}.attn.rel_pos_{axis}",
                    f"backbone.blocks.{{i}}.attn.relative_position.rel_pos_{axis}",
                )
                for axis in "hw"
            ),
            ("backbone.simfp_{i}.{rest}", "neck.simfp_{i}.{rest}"),
            *detectron2_heads("ln"),
        ),
    )
)
