"""A transformer block in windows whose tokens may belong to two images (MixMIM, arXiv 2205.13137)."""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmim.layers.drop_path import DropPath
from mmmim.layers.relative_positions import RelativePositionBias, offset_index
from mmmim.layers.tokens import visible_first
from mmmim.layers.transformer import Attention, Mlp
from mmmim.layers.windows import join_windows, split_windows


class Neighbourhood(Protocol):
    """Which tokens of a map attend to which."""

    def attend(self, attention: Attention, tokens: Tensor) -> Tensor:
        """Tokens of a stage -> the same shape."""


class Windows:
    """Tokens (B, H * W, C) attend inside windows; a map smaller than a window is one window.

    Args:
        grid: (H, W).
        size: side of a window; the map is padded at the bottom and right to whole windows.
    """

    def __init__(self, grid: tuple[int, int], size: int) -> None:
        self.grid, self.size = grid, min(size, max(grid))

    def attend(self, attention: Attention, tokens: Tensor) -> Tensor:
        """(B, H * W, C) -> (B, H * W, C)."""
        windows = split_windows(tokens.unflatten(1, self.grid), self.size)
        windows = attention(windows, (self.size, self.size))
        return join_windows(windows, self.size, self.grid).flatten(1, 2)


class MixedWindows:
    """As `Windows`, and only to tokens of the same image.

    How many tokens of a window are of which image differs between windows, so a mask it is, but one
    for the whole batch, and windows take the place of heads, so that it is never repeated.

    Args:
        hidden: (H * W,) bool, True where the partner is seen, for all samples.
        grid: (H, W), multiples of `size`.
        size: side of a window.
    """

    def __init__(self, hidden: Tensor, grid: tuple[int, int], size: int) -> None:
        self.grid, self.size = grid, size
        image = split_windows(hidden.view(1, *grid, 1).float(), size)[..., 0]  # (windows, N)
        other = image[:, :, None] != image[:, None, :]
        self.mask = torch.zeros_like(other, dtype=torch.float32).masked_fill_(other, -torch.inf)

    def sort(self, tokens: Tensor) -> Tensor:
        """(B, H * W, C), as they are: only `MixedGroups` needs an order."""
        return tokens

    def restore(self, tokens: Tensor) -> Tensor:
        """Undoes `sort`."""
        return tokens

    def attend(self, attention: Attention, tokens: Tensor) -> Tensor:
        """(B, H * W, C) -> (B, H * W, C)."""
        windows = split_windows(tokens.unflatten(1, self.grid), self.size)
        windows = windows.unflatten(0, (len(tokens), -1))
        qkv = attention.qkv(windows).unflatten(-1, (3, attention.num_heads, -1))
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5).flatten(2, 3)  # windows in the place of heads
        position = attention.relative_position.bias((self.size, self.size))
        bias = (position + self.mask[:, None]).flatten(0, 1).unsqueeze(0)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        out = out.unflatten(1, (-1, attention.num_heads)).transpose(2, 3).flatten(3).flatten(0, 1)
        return join_windows(attention.proj(out), self.size, self.grid).flatten(1, 2)


class MixedGroups:
    """A map that is one window: two groups of tokens that never meet, attending one after the other.

    Their sizes are known, so there is no mask, and half of the products are not computed.

    Args:
        hidden: (H * W,) bool, True where the partner is seen, for all samples.
        count: how many are hidden.
        grid: (H, W).
        window: side of the windows that the relative-position tables are made for.
    """

    def __init__(self, hidden: Tensor, count: int, grid: tuple[int, int], window: int) -> None:
        self.sizes = (len(hidden) - count, count)
        self.order = visible_first(hidden)
        offsets = offset_index(grid, (window, window), hidden.device)[1:, 1:]
        self.offsets = [offsets[group][:, group] for group in self.order.split(self.sizes)]

    def sort(self, tokens: Tensor) -> Tensor:
        """(B, H * W, C) -> the same, own tokens first; a stage does it once."""
        return tokens[:, self.order]

    def restore(self, tokens: Tensor) -> Tensor:
        """Undoes `sort`."""
        return torch.empty_like(tokens).index_copy(1, self.order, tokens)

    def attend(self, attention: Attention, tokens: Tensor) -> Tensor:
        """Sorted (B, H * W, C) -> the same."""
        table = attention.relative_position.table.T
        qkv = attention.qkv(tokens).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        out = []
        for group, offsets in zip(qkv.split(self.sizes, dim=3), self.offsets, strict=True):
            bias = table[:, offsets].unsqueeze(0).to(group.dtype)
            out.append(F.scaled_dot_product_attention(*group, attn_mask=bias).transpose(1, 2))
        return attention.proj(torch.cat(out, dim=1).flatten(2))


class WindowBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), the attention inside a neighbourhood.

    Args:
        dim, num_heads, mlp_ratio: sizes.
        window_size: side of the windows that the relative-position table is made for.
        drop_path: probability of skipping either branch, per sample.
        eps: of both LayerNorms.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        position = RelativePositionBias((window_size, window_size), num_heads, with_cls_token=False)
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, num_heads, position)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, neighbourhood: Neighbourhood) -> Tensor:
        """(B, N, C) as the neighbourhood has them -> the same."""
        tokens = tokens + self.drop_path(neighbourhood.attend(self.attn, self.norm1(tokens)))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))
