"""ConvMAE's convolutional block (arXiv 2205.03892, section 3.1), on whole maps or visible patches."""

from typing import Protocol

import torch
from torch import Tensor, nn

from mmmim.layers.drop_path import DropPath
from mmmim.layers.transformer import Mlp


class Placement(Protocol):
    """Where tokens stand on the map that a convolution sees."""

    def to_map(self, tokens: Tensor) -> Tensor:
        """Tokens (..., C) -> map (B, C, H, W)."""

    def to_tokens(self, maps: Tensor) -> Tensor:
        """Undoes `to_map`."""


class WholeMap:
    """Tokens (B, H, W, C): every position is there. Both ways are views, in channels-last memory."""

    def to_map(self, tokens: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, C, H, W)."""
        return tokens.permute(0, 3, 1, 2)

    def to_tokens(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, H, W, C)."""
        return maps.permute(0, 2, 3, 1)


class VisibleBlocks:
    """Tokens (B, V, s, s, C): a square of s * s tokens for each of V visible patches.

    Args:
        visible: (B, V) positions of the visible patches, row by row.
        grid: (rows, columns) of patches.
        side: s, tokens along one side of a patch.
    """

    def __init__(self, visible: Tensor, grid: tuple[int, int], side: int) -> None:
        self.batch, self.side = len(visible), side
        self.height, self.width = grid[0] * side, grid[1] * side
        image = torch.arange(self.batch, device=visible.device).view(-1, 1, 1, 1)
        step = torch.arange(side, device=visible.device)
        y = (visible // grid[1]).view(self.batch, -1, 1, 1) * side + step.view(-1, 1)
        x = (visible % grid[1]).view(self.batch, -1, 1, 1) * side + step
        self.rows = ((image * self.height + y) * self.width + x).flatten()

    def to_map(self, tokens: Tensor) -> Tensor:
        """(B, V, s, s, C) -> (B, C, H, W), zero at hidden patches, in channels-last memory."""
        channels = tokens.shape[-1]
        table = tokens.new_zeros(self.batch * self.height * self.width, channels)
        table.index_copy_(0, self.rows, tokens.reshape(-1, channels))
        return table.view(self.batch, self.height, self.width, channels).permute(0, 3, 1, 2)

    def to_tokens(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, V, s, s, C)."""
        table = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
        tokens = _TakeRows.apply(table, self.rows)
        return tokens.view(self.batch, -1, self.side, self.side, maps.shape[1])


class _TakeRows(torch.autograd.Function):
    """`table[rows]` for rows that are all different, whose gradient is therefore a copy, not a sum."""

    @staticmethod
    def forward(ctx, table: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.length = len(table)
        return table.index_select(0, rows)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        zeros = gradient.new_zeros(ctx.length, gradient.shape[1])
        return zeros.index_copy_(0, rows, gradient), None


class ConvBlock(nn.Module):
    """x + conv2(depthwise(conv1(norm(x)))), then x + mlp(norm(x)), on tokens with channels last.

    Parameter names are the official ones (vision_transformer.py:101-123); its 1x1 convolutions are
    linear maps here.

    Args:
        dim, mlp_ratio: sizes.
        drop_path: probability of skipping either branch, per sample.
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
        """Tokens (..., C) as `placement` has them -> the same shape.

        The depthwise convolution sees zeros where nothing is visible, so nothing leaks from hidden
        patches, and between visible ones that touch it mixes as on a whole map.
        """
        maps = placement.to_map(self.conv1(self.norm1(tokens)))
        mixed = self.conv2(placement.to_tokens(self.attn(maps)))
        tokens = tokens + self.drop_path(mixed)
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))
