"""The pre-norm transformer block, with what dense prediction adds to it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmim.layers.drop_path import DropPath
from mmmim.layers.tokens import gather_tokens
from mmmim.layers.windows import join_windows, split_windows


class Attention(nn.Module):
    """Multi-head self-attention; parameter names are timm's.

    Args:
        dim: token width.
        num_heads: heads; must divide `dim`.
        relative_position: a module of `layers/relative_positions.py`, or None.
    """

    def __init__(self, dim: int, num_heads: int, relative_position: nn.Module | None = None) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"num_heads must divide the width, got {num_heads} heads for {dim}")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.relative_position = relative_position

    def forward(
        self, tokens: Tensor, grid: tuple[int, int] | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """(B, N, D) -> (B, N, D).

        `grid` is (rows, columns), read by relative positions only; `bias` (1, heads, N, N) is added to
        the logits instead of the attention's own relative position.
        """
        # Cut, then reshaped: three gradients become one by one copy.
        query, key, value = (self._heads(part) for part in self.qkv(tokens).chunk(3, dim=-1))
        if bias is None and self.relative_position is not None:
            bias = self.relative_position(query, grid)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(out.transpose(1, 2).flatten(2))

    def at(self, tokens: Tensor, queries: Tensor) -> Tensor:
        """What (B, M, D) of the tokens (B, N, D) attend to in all of them -> (B, M, D)."""
        dim = tokens.shape[-1]
        weights, biases = self.qkv.weight.split((dim, 2 * dim)), self.qkv.bias.split((dim, 2 * dim))
        query = self._heads(F.linear(queries, weights[0], biases[0]))
        both = F.linear(tokens, weights[1], biases[1])
        key, value = (self._heads(part) for part in both.chunk(2, dim=-1))
        out = F.scaled_dot_product_attention(query, key, value)
        return self.proj(out.transpose(1, 2).flatten(2))

    def _heads(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, heads, N, D / heads)."""
        return tokens.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class Mlp(nn.Module):
    """Linear, GELU, Linear; parameter names are timm's."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))


class LayerScale(nn.Module):
    """A learned factor per channel (CaiT, arXiv 2103.17239)."""

    def __init__(self, dim: int, init_value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), float(init_value)))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.gamma


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        dim, num_heads, mlp_ratio: sizes.
        drop_path: probability of skipping either branch, per sample.
        layer_scale: initial LayerScale, or None for none.
        relative_position: see `Attention`.
        window_size: attend inside windows of this side; None attends globally.
        eps: of both LayerNorms.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
        relative_position: nn.Module | None = None,
        window_size: int | None = None,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, num_heads, relative_position)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        scale = nn.Identity if layer_scale is None else (lambda: LayerScale(dim, layer_scale))
        self.ls1, self.ls2 = scale(), scale()
        self.drop_path = DropPath(drop_path)

    def forward(
        self,
        tokens: Tensor,
        grid: tuple[int, int] | None = None,
        bias: Tensor | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """(B, N, D) -> (B, N, D), or (B, M, D) at the positions `at` (B, M).

        Windows need `grid` = (rows, columns) with N = rows * columns. `bias`: see `Attention`; N there
        is a window's. With `at`, which is for blocks without windows and relative positions, only keys
        and values are computed of the other tokens.
        """
        if at is not None:
            return self._at(tokens, at)
        tokens = tokens + self.drop_path(self.ls1(self._attend(self.norm1(tokens), grid, bias)))
        return tokens + self.drop_path(self.ls2(self.mlp(self.norm2(tokens))))

    def _at(self, tokens: Tensor, indices: Tensor) -> Tensor:
        normed = self.norm1(tokens)
        attended = self.attn.at(normed, gather_tokens(normed, indices))
        tokens = gather_tokens(tokens, indices) + self.drop_path(self.ls1(attended))
        return tokens + self.drop_path(self.ls2(self.mlp(self.norm2(tokens))))

    def _attend(self, tokens: Tensor, grid: tuple[int, int] | None, bias: Tensor | None) -> Tensor:
        if self.window_size is None:
            return self.attn(tokens, grid, bias)
        size = self.window_size
        windows = split_windows(tokens.unflatten(1, grid), size)
        return join_windows(self.attn(windows, (size, size), bias), size, grid).flatten(1, 2)


def init_like_mae(module: nn.Module) -> None:
    """Xavier-uniform Linear weights, zero biases: facebookresearch/mae models_mae.py:85-93."""
    for child in module.modules():
        if isinstance(child, nn.Linear):
            nn.init.xavier_uniform_(child.weight)
            if child.bias is not None:
                nn.init.zeros_(child.bias)
