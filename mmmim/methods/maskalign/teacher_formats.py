"""Hugging Face's names of teacher weights -> timm's. timm reads all other formats itself."""

import re

import torch
from torch import Tensor

from mmmim.checkpoints.formats.base import Rules, rename

# Parts are stacked below: query 0, key 1, value 2.
_SELF_ATTENTION = tuple(
    (rf"{prefix}\.(\d+)\.{name}\.(\w+)", rf"blocks.\1.attn.qkv.\2.{part}")
    for prefix, names in (
        (
            r"vision_model\.encoder\.layers",
            ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        ),
        (
            r"encoder\.layer",
            ("attention.attention.query", "attention.attention.key", "attention.attention.value"),
        ),
    )
    for part, name in enumerate(re.escape(name) for name in names)
)
# CLIP and SigLIP.
_VISION_MODEL: Rules = (
    (r"vision_model\.embeddings\.class_embedding", "cls_token"),
    (r"vision_model\.embeddings\.patch_embedding\.(\w+)", r"patch_embed.proj.\1"),
    (r"vision_model\.embeddings\.position_embedding\.weight", "pos_embed"),
    (r"vision_model\.pre_layrnorm\.(\w+)", r"norm_pre.\1"),
    (r"vision_model\.encoder\.layers\.(\d+)\.layer_norm([12])\.(\w+)", r"blocks.\1.norm\2.\3"),
    (r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.out_proj\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (r"vision_model\.encoder\.layers\.(\d+)\.(mlp\.fc[12]\.\w+)", r"blocks.\1.\2"),
    *_SELF_ATTENTION,
)
# DINO (ViTModel) and DINOv2. timm reads DINOv2's registers by their original name.
_VIT_MODEL: Rules = (
    (r"embeddings\.(cls_token|mask_token|register_tokens)", r"\1"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.(\w+)", r"patch_embed.proj.\1"),
    (r"encoder\.layer\.(\d+)\.layernorm_before\.(\w+)", r"blocks.\1.norm1.\2"),
    (r"encoder\.layer\.(\d+)\.layernorm_after\.(\w+)", r"blocks.\1.norm2.\2"),
    (r"encoder\.layer\.(\d+)\.(norm[12]\.\w+)", r"blocks.\1.\2"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (r"encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (r"encoder\.layer\.(\d+)\.output\.dense\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    (r"encoder\.layer\.(\d+)\.mlp\.fc([12])\.(\w+)", r"blocks.\1.mlp.fc\2.\3"),
    (r"encoder\.layer\.(\d+)\.mlp\.weights_in\.(\w+)", r"blocks.\1.mlp.w12.\2"),
    (r"encoder\.layer\.(\d+)\.mlp\.weights_out\.(\w+)", r"blocks.\1.mlp.w3.\2"),
    *_SELF_ATTENTION,
)
_DINOV3: Rules = (
    (r"embeddings\.cls_token", "cls_token"),
    (r"embeddings\.register_tokens", "reg_token"),
    (r"embeddings\.patch_embeddings\.(\w+)", r"patch_embed.proj.\1"),
    (r"layer\.(\d+)\.(norm[12]\.\w+)", r"blocks.\1.\2"),
    *(
        (rf"layer\.(\d+)\.attention\.{name}_proj\.weight", rf"blocks.\1.attn.qkv.weight.{part}")
        for part, name in enumerate("qkv")
    ),
    (r"layer\.(\d+)\.attention\.([qv])_proj\.bias", r"blocks.\1.attn.\2_bias"),
    (r"layer\.(\d+)\.attention\.o_proj\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (r"layer\.(\d+)\.layer_scale([12])\.lambda1", r"blocks.\1.gamma_\2"),
    (r"layer\.(\d+)\.mlp\.down_proj\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
)
_DINOV3_PLAIN: Rules = (*_DINOV3, (r"layer\.(\d+)\.mlp\.up_proj\.(\w+)", r"blocks.\1.mlp.fc1.\2"))
_DINOV3_GATED: Rules = (  # the "plus" sizes
    *_DINOV3,
    (r"layer\.(\d+)\.mlp\.gate_proj\.(\w+)", r"blocks.\1.mlp.fc1_g.\2"),
    (r"layer\.(\d+)\.mlp\.up_proj\.(\w+)", r"blocks.\1.mlp.fc1_x.\2"),
)
# A key that only this format has -> its rules.
HUGGING_FACE: dict[str, Rules] = {
    "vision_model.embeddings.patch_embedding.weight": _VISION_MODEL,
    "encoder.layer.0.attention.attention.query.weight": _VIT_MODEL,
    "layer.0.mlp.gate_proj.weight": _DINOV3_GATED,
    "layer.0.attention.q_proj.weight": _DINOV3_PLAIN,
}
# Prefixes of a teacher's weights in official MaskAlign files, Hugging Face's and mmpretrain's
# classifiers, mmmim's and DINO's training checkpoints.
PREFIXES = ("clip_model.", "dino_model.", "vit.", "dinov2.", "model.", "backbone.")


def to_timm_teacher(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of a Hugging Face model to timm's names; other weights stay unchanged."""
    for prefix in PREFIXES:
        inner = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        state = inner or state
    for signature, rules in HUGGING_FACE.items():
        if signature in state:
            return _stack_parts(rename(state, rules)[0])
    return state


def _stack_parts(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`name.0`, `name.1`, `name.2` -> `name`; tokens and positions as (1, N, D)."""
    whole: dict[str, Tensor] = {}
    for key, value in state.items():
        name, _, part = key.rpartition(".")
        if part == "0":
            whole[name] = torch.cat([state[f"{name}.{i}"] for i in range(3)])
        elif part not in ("1", "2"):
            is_table = key in ("cls_token", "pos_embed")
            whole[key] = value.reshape(1, -1, value.shape[-1]) if is_table else value
    return whole
