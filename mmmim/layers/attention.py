"""Multi-head self-attention, windows, and relative positions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention; parameter names are timm's.

    Args:
        dim: token width.
        num_heads: number of heads; must divide `dim`.
        relative_position: a `DecomposedRelativePosition` or `RelativePositionBias`, or None.

    Raises:
        ValueError: `num_heads` does not divide `dim`.
    """

    def __init__(self, dim: int, num_heads: int, relative_position: nn.Module | None = None) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"num_heads must divide the width {dim}, got {num_heads}")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.relative_position = relative_position

    def forward(
        self, tokens: Tensor, grid: tuple[int, int] | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """(B, N, D) -> (B, N, D).

        Args:
            tokens: (B, N, D).
            grid: (rows, columns) of the tokens; only relative positions need it.
            bias: (1, heads, N, N), added to the logits instead of the own relative position.
        """
        # Chunked before the reshape, so that the backward pass joins the three gradients in one copy.
        query, key, value = (self._split_heads(part) for part in self.qkv(tokens).chunk(3, dim=-1))
        if bias is None and self.relative_position is not None:
            bias = self.relative_position(query, grid)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(out.transpose(1, 2).flatten(2))

    def cross(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Queries (B, M, D) attend to tokens (B, N, D), without relative positions -> (B, M, D)."""
        dim = tokens.shape[-1]
        weights, biases = self.qkv.weight.split((dim, 2 * dim)), self.qkv.bias.split((dim, 2 * dim))
        query = self._split_heads(F.linear(queries, weights[0], biases[0]))
        both = F.linear(tokens, weights[1], biases[1])
        key, value = (self._split_heads(part) for part in both.chunk(2, dim=-1))
        out = F.scaled_dot_product_attention(query, key, value)
        return self.proj(out.transpose(1, 2).flatten(2))

    def _split_heads(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, heads, N, D / heads)."""
        return tokens.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def window_partition(tokens: Tensor, size: int) -> Tensor:
    """(B, H, W, C) -> (B * windows, size * size, C), zero-padded at the bottom and right.

    Padding is attended to, as in detectron2 (modeling/backbone/utils.py:17-40).
    """
    b, h, w, c = tokens.shape
    if h % size or w % size:  # F.pad copies even when it pads nothing
        tokens = F.pad(tokens, (0, 0, 0, -w % size, 0, -h % size))
    rows, columns = tokens.shape[1] // size, tokens.shape[2] // size
    tokens = tokens.reshape(b, rows, size, columns, size, c).permute(0, 1, 3, 2, 4, 5)
    return tokens.reshape(b * rows * columns, size * size, c)


def window_reverse(windows: Tensor, size: int, grid: tuple[int, int]) -> Tensor:
    """Inverse of `window_partition`: -> (B, H, W, C) with `grid` = (H, W), padding removed."""
    h, w = grid
    # Rounded up without a negative divisor, which ONNX export would truncate instead.
    rows, columns = (h + size - 1) // size, (w + size - 1) // size
    c = windows.shape[-1]
    tokens = windows.reshape(-1, rows, columns, size, size, c).permute(0, 1, 3, 2, 4, 5)
    return tokens.reshape(-1, rows * size, columns * size, c)[:, :h, :w]


class DecomposedRelativePosition(nn.Module):
    """ViTDet's relative position: height and width separately, times the query.

    From MViTv2 (arXiv 2112.01526, eq. 5); detectron2 modeling/backbone/utils.py:61-126. Tables start
    at zero (detectron2 modeling/backbone/vit.py:62-66, `rel_pos_zero_init`).

    Args:
        grid: (rows, columns) of the map or window that the tables are made for. They are resized
            linearly for another size.
        head_dim: channels per head.
    """

    def __init__(self, grid: tuple[int, int], head_dim: int) -> None:
        super().__init__()
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid[0] - 1, head_dim))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid[1] - 1, head_dim))

    def forward(self, query: Tensor, grid: tuple[int, int]) -> Tensor:
        """Unscaled query (B, heads, H * W, d) -> bias (B, heads, H * W, H * W)."""
        h, w = grid
        query = query.unflatten(2, grid)
        bias_h = torch.einsum("bnhwc,hkc->bnhwk", query, relative_table(self.rel_pos_h, h))
        bias_w = torch.einsum("bnhwc,wkc->bnhwk", query, relative_table(self.rel_pos_w, w))
        return (bias_h.unsqueeze(-1) + bias_w.unsqueeze(-2)).flatten(4).flatten(2, 3)


def relative_table(table: Tensor, size: int) -> Tensor:
    """(2 * n - 1, d) -> (size, size, d); entry [i, j] is for query i and key j."""
    if table.shape[0] != 2 * size - 1:
        table = F.interpolate(table.T[None].float(), size=2 * size - 1, mode="linear")[0].T
    steps = torch.arange(size, device=table.device)
    return table[steps[:, None] - steps[None, :] + size - 1]


class RelativePositionBias(nn.Module):
    """One learned bias per offset and head (BEiT, Swin).

    Over the whole crop in the UperNet recipe (implus/mae_segmentation backbone/mae.py:66-92), without
    a class token in ConvMAE (SEG/backbone/convmae.py:106-160, DET/models/convmae.py), in windows in
    MixMIM (models_mixmim.py:41-57).

    Args:
        grid: (rows, columns) that the table is made for. A smaller map reads the middle of the table,
            since its offsets are the same; for a larger map the table is resized bicubically.
        num_heads: number of attention heads.
        with_cls_token: whether the table has three more rows: class-to-patch, patch-to-class,
            class-to-class.
    """

    def __init__(self, grid: tuple[int, int], num_heads: int, with_cls_token: bool = True) -> None:
        super().__init__()
        self.grid = grid
        self.offsets = (2 * grid[0] - 1) * (2 * grid[1] - 1)
        self.table = nn.Parameter(torch.zeros(self.offsets + 3 * with_cls_token, num_heads))

    def forward(self, query: Tensor, grid: tuple[int, int]) -> Tensor:
        """Query (B, heads, N, d) -> bias (1, heads, N, N); N = H * W, plus 1 with a class token."""
        with_cls_token = query.shape[2] != grid[0] * grid[1]
        return self.bias(grid, with_cls_token).to(query.dtype)

    def bias(self, grid: tuple[int, int], with_cls_token: bool = False) -> Tensor:
        """(1, heads, N, N) for a map of `grid`; N = H * W, plus 1 with a class token."""
        table_grid = (max(grid[0], self.grid[0]), max(grid[1], self.grid[1]))
        table = self.table if table_grid == self.grid else self._resized(table_grid)
        index = relative_position_index(grid, table_grid, table.device)
        if not with_cls_token:
            index = index[1:, 1:]
        # Keys are the last dimension in memory too, which fused GPU kernels require.
        return table.T[:, index].unsqueeze(0)

    def _resized(self, grid: tuple[int, int]) -> Tensor:
        offsets = resize_offsets(self.table[: self.offsets], self.grid, grid)
        return torch.cat([offsets, self.table[self.offsets :]])


def cast_to_autocast(bias: Tensor) -> Tensor:
    """Cast a bias that several blocks share to autocast's dtype once, instead of once per block."""
    device = bias.device.type
    return bias.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else bias


def resize_offsets(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """((2 h - 1) * (2 w - 1), heads) for the grid `old` -> the same for the grid `new`, bicubic."""
    image = table.T.unflatten(1, (2 * old[0] - 1, 2 * old[1] - 1))
    size = (2 * new[0] - 1, 2 * new[1] - 1)
    image = F.interpolate(image[None].float(), size=size, mode="bicubic", align_corners=False)
    return image[0].flatten(1).T.to(table.dtype)


def relative_position_index(
    grid: tuple[int, int], table_grid: tuple[int, int], device: torch.device
) -> Tensor:
    """(1 + H * W, 1 + H * W) rows in the table of a `RelativePositionBias`, class token first.

    Args:
        grid: (H, W) of the map.
        table_grid: (rows, columns) that the table is made for.
        device: of the result.
    """
    h, w = grid
    rows, columns = table_grid
    y, x = torch.meshgrid(torch.arange(h, device=device), torch.arange(w, device=device), indexing="ij")
    y, x = y.flatten(), x.flatten()
    offsets = (y[:, None] - y + rows - 1) * (2 * columns - 1) + x[:, None] - x + columns - 1
    index = F.pad(offsets, (1, 0, 1, 0))
    last = (2 * rows - 1) * (2 * columns - 1)
    index[0, :], index[:, 0], index[0, 0] = last, last + 1, last + 2
    return index
