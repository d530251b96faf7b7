"""ConvMAE's convolutional stages (arXiv 2205.03892, section 3.1), on whole maps or visible patches."""

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmim.layers.block import DropPath, Mlp


class Placement(Protocol):
    """Places tokens on the map that a convolution reads."""

    def to_map(self, tokens: Tensor) -> Tensor:
        """Tokens (..., C) -> map (B, C, H, W)."""
        ...

    def to_tokens(self, maps: Tensor) -> Tensor:
        """Inverse of `to_map`."""
        ...


class WholeMap:
    """Tokens (B, H, W, C) at every position. Both directions are views in channels-last memory."""

    def to_map(self, tokens: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, C, H, W)."""
        return tokens.permute(0, 3, 1, 2)

    def to_tokens(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, H, W, C)."""
        return maps.permute(0, 2, 3, 1)


class VisiblePatches:
    """Tokens (N, V, s, s, C): s * s tokens for each of V visible patches.

    Args:
        visible_idx: (N, V) positions of the visible patches, row-major.
        grid: (rows, columns) of patches.
        side: s, tokens along one side of a patch.
    """

    def __init__(self, visible_idx: Tensor, grid: tuple[int, int], side: int) -> None:
        self.batch, self.side = len(visible_idx), side
        self.height, self.width = grid[0] * side, grid[1] * side
        image = torch.arange(self.batch, device=visible_idx.device).view(-1, 1, 1, 1)
        step = torch.arange(side, device=visible_idx.device)
        y = (visible_idx // grid[1]).view(self.batch, -1, 1, 1) * side + step.view(-1, 1)
        x = (visible_idx % grid[1]).view(self.batch, -1, 1, 1) * side + step
        self.rows = ((image * self.height + y) * self.width + x).flatten()

    def to_map(self, tokens: Tensor) -> Tensor:
        """(N, V, s, s, C) -> (N, C, H, W), zero at masked patches, in channels-last memory."""
        channels = tokens.shape[-1]
        table = tokens.new_zeros(self.batch * self.height * self.width, channels)
        table.index_copy_(0, self.rows, tokens.reshape(-1, channels))
        return table.view(self.batch, self.height, self.width, channels).permute(0, 3, 1, 2)

    def to_tokens(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, V, s, s, C)."""
        table = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
        tokens = _TakeUniqueRows.apply(table, self.rows)
        return tokens.view(self.batch, -1, self.side, self.side, maps.shape[1])


class _TakeUniqueRows(torch.autograd.Function):
    """`table[rows]` for unique rows: the gradient is a copy instead of a sum."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.length = len(table)
        return table.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        zeros = gradient.new_zeros(ctx.length, gradient.shape[1])
        return zeros.index_copy_(0, rows, gradient), None


class StageEmbed(nn.Module):
    """Merge squares of p * p tokens into one, LayerNorm, GELU: the beginning of each stage.

    Names and constants: vision_transformer.py:174-196 of the official code.

    Args:
        size: p, tokens (or pixels) along one side of a square.
        in_dim, out_dim: token widths.
    """

    def __init__(self, size: int, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_dim, out_dim, kernel_size=size, stride=size)
        self.norm = nn.LayerNorm(out_dim, eps=1e-5)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., H, W, C) -> (..., H / p, W / p, D); H and W are multiples of p.

        The stage's residual stream starts here. It stays in float32 under autocast, because half
        precision loses small terms of its sum over the depth, and float16 can overflow.
        """
        tokens = merge_tokens(tokens, self.proj)
        return F.gelu(self.norm(tokens.to(self.norm.weight.dtype)))


def merge_tokens(tokens: Tensor, conv: nn.Conv2d) -> Tensor:
    """Apply a convolution whose stride equals its size as a linear map, to any selection of squares.

    (..., H, W, C) -> (..., H / p, W / p, D).
    """
    p = conv.kernel_size[0]
    squares = tokens.unflatten(-2, (-1, p)).unflatten(-4, (-1, p)).transpose(-4, -3)
    # The weight is (D, C, p, p); the tokens of a square are row-major, channels last.
    weight = conv.weight.permute(0, 2, 3, 1).flatten(1)
    return F.linear(squares.flatten(-3), weight, conv.bias)


class ConvBlock(nn.Module):
    """x + conv2(depthwise(conv1(norm(x)))), then x + mlp(norm(x)), on tokens with channels last.

    Parameter names are the official ones (vision_transformer.py:101-123); the official 1x1
    convolutions are linear maps here.

    Args:
        dim, mlp_ratio: sizes.
        drop_path: probability of skipping each branch, per sample.
        eps: of both LayerNorms.
    """

    def __init__(
        self, dim: int, mlp_ratio: float = 4.0, drop_path: float = 0.0, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.conv1 = nn.Linear(dim, dim)
        self.attn = nn.Conv2d(dim, dim, kernel_size=5, padding=2, groups=dim)
        self.conv2 = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, placement: Placement) -> Tensor:
        """Tokens (..., C) in the layout of `placement` -> the same shape.

        The depthwise convolution reads zeros at masked patches, so nothing leaks from them; adjacent
        visible patches mix as on a whole map.
        """
        maps = placement.to_map(self.conv1(self.norm1(tokens)))
        mixed = self.conv2(placement.to_tokens(self.attn(maps)))
        tokens = tokens + self.drop_path(mixed)
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))
