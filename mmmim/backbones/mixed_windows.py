"""MixMIM's transformer block (arXiv 2205.13137): windows whose tokens may belong to two images.

A block attends inside a `Neighborhood`: `Windows` for plain images in transfer; in pretraining
`MixedGroups` if the map is a single window, else `MixedWindows`.
"""

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmim.layers.attention import (
    Attention,
    RelativePositionBias,
    relative_position_index,
    window_partition,
    window_reverse,
)
from mmmim.layers.block import DropPath, Mlp
from mmmim.masking import PatchMask


class Neighborhood(Protocol):
    """Which tokens of a map attend to which."""

    def attend(self, attention: Attention, tokens: Tensor) -> Tensor:
        """Tokens of a stage -> the same shape."""
        ...


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
        windows = window_partition(tokens.unflatten(1, self.grid), self.size)
        windows = attention(windows, (self.size, self.size))
        return window_reverse(windows, self.size, self.grid).flatten(1, 2)


class MixedWindows:
    """`Windows` in which tokens attend only to tokens of the same image.

    Windows mix the two images in different proportions, so an attention mask is needed. Windows
    are folded into the dimension of the heads, so that the mask broadcasts over the batch.

    Args:
        partner: (H * W,) bool, True where the partner image is shown, for all samples.
        grid: (H, W), multiples of `size`.
        size: side of a window.
    """

    def __init__(self, partner: Tensor, grid: tuple[int, int], size: int) -> None:
        self.grid, self.size = grid, size
        image = window_partition(partner.view(1, *grid, 1).float(), size)[..., 0]  # (windows, N)
        other = image[:, :, None] != image[:, None, :]
        self.mask = torch.zeros_like(other, dtype=torch.float32).masked_fill_(other, -torch.inf)

    def sort(self, tokens: Tensor) -> Tensor:
        """(B, H * W, C) unchanged; `MixedGroups` sorts."""
        return tokens

    def restore(self, tokens: Tensor) -> Tensor:
        """Inverse of `sort`."""
        return tokens

    def attend(self, attention: Attention, tokens: Tensor) -> Tensor:
        """(B, H * W, C) -> (B, H * W, C)."""
        windows = window_partition(tokens.unflatten(1, self.grid), self.size)
        windows = windows.unflatten(0, (len(tokens), -1))
        qkv = attention.qkv(windows).unflatten(-1, (3, attention.num_heads, -1))
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5).flatten(2, 3)  # (B, windows * heads, N, d)
        table: Any = attention.relative_position
        position = table.bias((self.size, self.size))
        bias = (position + self.mask[:, None]).flatten(0, 1).unsqueeze(0)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        out = out.unflatten(1, (-1, attention.num_heads)).transpose(2, 3).flatten(3).flatten(0, 1)
        return window_reverse(attention.proj(out), self.size, self.grid).flatten(1, 2)


class MixedGroups:
    """A map that is one window: the tokens of each image attend among themselves.

    The two groups are attended one after the other. No attention mask is needed, and half of the
    products are not computed.

    Args:
        mask: `PatchMask` of shape (1, H * W), True where the partner image is shown.
        grid: (H, W).
        window: side of the windows that the relative-position tables are made for.
    """

    def __init__(self, mask: PatchMask, grid: tuple[int, int], window: int) -> None:
        groups = (mask.visible_idx[0], mask.masked_idx[0])
        self.sizes = (mask.num_visible, mask.num_masked)
        self.order = torch.cat(groups)
        index = relative_position_index(grid, (window, window), self.order.device)[1:, 1:]
        self.index = [index[group][:, group] for group in groups]

    def sort(self, tokens: Tensor) -> Tensor:
        """(B, H * W, C) -> the same, own tokens first; once per stage."""
        return tokens[:, self.order]

    def restore(self, tokens: Tensor) -> Tensor:
        """Inverse of `sort`."""
        return torch.empty_like(tokens).index_copy(1, self.order, tokens)

    def attend(self, attention: Attention, tokens: Tensor) -> Tensor:
        """Sorted (B, H * W, C) -> the same."""
        position: Any = attention.relative_position
        table = position.table.T
        qkv = attention.qkv(tokens).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        out = []
        for group, index in zip(qkv.split(self.sizes, dim=3), self.index, strict=True):
            bias = table[:, index].unsqueeze(0).to(group.dtype)
            query, key, value = group
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
            out.append(attended.transpose(1, 2))
        return attention.proj(torch.cat(out, dim=1).flatten(2))


class WindowBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); attention stays inside a neighborhood.

    Args:
        dim, num_heads, mlp_ratio: sizes.
        window_size: side of the windows that the relative-position table is made for.
        drop_path: probability of skipping each branch, per sample.
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

    def forward(self, tokens: Tensor, neighborhood: Neighborhood) -> Tensor:
        """(B, N, C) in the order of the neighborhood -> the same."""
        tokens = tokens + self.drop_path(neighborhood.attend(self.attn, self.norm1(tokens)))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))
