"""Running timm's vision transformers block by block, the last one for selected tokens only."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmmim.layers.tokens import gather_tokens


def check_structure(model: Any) -> None:
    """
    Raises:
        ValueError: the functions below would not compute what `model` computes, because it is not one
            of timm's pre-norm vision transformers.
    """
    from timm.layers import AttentionRope
    from timm.models.eva import Eva, EvaAttention, EvaBlock
    from timm.models.vision_transformer import Attention, Block, VisionTransformer

    block = model.blocks[-1] if isinstance(model, VisionTransformer | Eva) else None
    attention: Any = getattr(block, "attn", None)
    is_known = type(block) in (Block, EvaBlock) and type(attention) in (
        Attention,
        AttentionRope,
        EvaAttention,
    )
    if not is_known or attention.gate is not None:
        raise ValueError(
            "a teacher must be a timm VisionTransformer or Eva model with pre-norm blocks, "
            f"got {type(model).__name__} with {type(block).__name__} and {type(attention).__name__}"
        )


def embed(model: Any, images: Tensor) -> tuple[Tensor, list[dict[str, Any]]]:
    """Images (B, 3, H, W) -> the first block's input (B, N, D), and further arguments per block."""
    tokens = model._pos_embed(model.patch_embed(images))
    tokens, rope = tokens if isinstance(tokens, tuple) else (tokens, None)
    depth = len(model.blocks)
    if rope is None:
        extras: list[dict[str, Any]] = [{} for _ in range(depth)]
    else:
        own = rope if getattr(model, "rope_mixed", False) else [rope] * depth
        extras = [dict(rope=r) for r in own]
    return model.norm_pre(tokens), extras


class LastBlock:
    """A timm block that computes a few of its tokens only.

    Keys are computed for all tokens, and values too if an output is read. Queries and the rest of the
    block are computed for the selected tokens alone.

    Args:
        block: of timm.
        tokens: (B, N, D), its input.
        prefix: number of tokens before the patches: class token and registers.
        rope: rotary positions of the patches, ([heads,] L, 2 * head_dim), or None.
    """

    def __init__(self, block: Any, tokens: Tensor, prefix: int, rope: Tensor | None = None) -> None:
        self.block, self.tokens, self.prefix = block, tokens, prefix
        self.rope = None if rope is None else _with_prefix(rope, prefix)
        self.normed = block.norm1(tokens)
        key = block.attn.k_norm(_project(block.attn, self.normed, 1))
        self.key = self._rotate(key, None)

    def class_attention(self) -> Tensor:
        """Attention from the class token to each patch, mean over heads: (B, L).

        In float32: half precision would round small weights to zero, and sampling needs positive ones.
        """
        return self._attention_from(self._query(self.normed[:, :1], None, rotate=False))

    def mean_attention(self) -> Tensor:
        """Attention from the mean query of all patches: (B, L). For models without class token."""
        query = self._query(self.normed, None)[:, :, self.prefix :]
        return self._attention_from(query.mean(dim=2, keepdim=True))

    def output(self, index: Tensor) -> Tensor:
        """The block's output (B, K, D) at tokens `index` (B, K)."""
        block, attention = self.block, self.block.attn
        query = self._query(gather_tokens(self.normed, index), index)
        value = _project(attention, self.normed, 2)
        out = F.scaled_dot_product_attention(query, self.key, value).transpose(1, 2).flatten(2)
        out = _scale(block, 1, attention.proj(attention.norm(out)))
        tokens = gather_tokens(self.tokens, index) + out
        return tokens + _scale(block, 2, block.mlp(block.norm2(tokens)))

    def _query(self, normed: Tensor, index: Tensor | None, rotate: bool = True) -> Tensor:
        query = self.block.attn.q_norm(_project(self.block.attn, normed, 0))
        return self._rotate(query, index) if rotate else query

    def _attention_from(self, query: Tensor) -> Tensor:
        with torch.autocast(query.device.type, enabled=False):
            query = query.float() * self.block.attn.scale
            weights = (query @ self.key.float().transpose(-2, -1)).softmax(dim=-1)
        return weights[:, :, 0, self.prefix :].mean(dim=1)

    def _rotate(self, heads: Tensor, index: Tensor | None) -> Tensor:
        """Rotate (B, heads, K, head_dim) by the positions of the tokens `index` (B, K), or of all."""
        if self.rope is None:
            return heads
        from timm.layers import apply_rot_embed_cat

        rope = self.rope
        if index is not None:  # ([heads,] B, K, C) -> (B, heads or 1, K, C)
            rope = rope[..., index, :]
            rope = rope.unsqueeze(0) if rope.dim() == 3 else rope
            rope = rope.transpose(0, 1)
        half = getattr(self.block.attn, "rotate_half", False)
        return apply_rot_embed_cat(heads, rope, half=half).to(heads.dtype)


def _with_prefix(rope: Tensor, prefix: int) -> Tensor:
    """Prepend rows to rotary positions that rotate by zero: sine 0, cosine 1."""
    sine = rope.chunk(2, dim=-1)[0]
    front = sine[..., :1, :].expand(*sine.shape[:-2], prefix, -1)
    still = torch.cat([torch.zeros_like(front), torch.ones_like(front)], dim=-1)
    return torch.cat([still, rope], dim=-2)


def _project(attention: Any, tokens: Tensor, part: int) -> Tensor:
    """Query, key or value (part 0, 1, 2): (B, N, D) -> (B, heads, N, head_dim)."""
    if attention.qkv is None:
        layer = (attention.q_proj, attention.k_proj, attention.v_proj)[part]
        weight, bias = layer.weight, layer.bias
    else:
        weight = attention.qkv.weight.chunk(3)[part]
        bias = _bias(attention, part)
    return F.linear(tokens, weight, bias).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)


def _bias(attention: Any, part: int) -> Tensor | None:
    if hasattr(attention, "q_bias"):  # EvaAttention has separate biases, and none for keys
        return (attention.q_bias, None, attention.v_bias)[part]
    return None if attention.qkv.bias is None else attention.qkv.bias.chunk(3)[part]


def _scale(block: Any, branch: int, tokens: Tensor) -> Tensor:
    """LayerScale: a module in `Block`, a parameter or None in `EvaBlock`."""
    if hasattr(block, f"ls{branch}"):
        return getattr(block, f"ls{branch}")(tokens)
    gamma = getattr(block, f"gamma_{branch}")
    return tokens if gamma is None else tokens * gamma
