"""Relative positions as a bias on the attention logits."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DecomposedRelativePosition(nn.Module):
    """Height and width separately, times the query: ViTDet's (from MViTv2, arXiv 2112.01526, eq. 5).

    detectron2 modeling/backbone/utils.py:61-126. Tables start at zero, as ViTDet's do
    (modeling/backbone/vit.py:62-66: `rel_pos_zero_init`).

    Args:
        grid: (rows, columns) of the map or window that the tables are made for; another size
            resizes them linearly.
        head_dim: channels of one head.
    """

    def __init__(self, grid: tuple[int, int], head_dim: int) -> None:
        super().__init__()
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid[0] - 1, head_dim))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid[1] - 1, head_dim))

    def forward(self, query: Tensor, grid: tuple[int, int]) -> Tensor:
        """query (B, heads, H * W, d), unscaled -> bias (B, heads, H * W, H * W)."""
        h, w = grid
        query = query.unflatten(2, grid)
        bias_h = torch.einsum("bnhwc,hkc->bnhwk", query, relative_table(self.rel_pos_h, h))
        bias_w = torch.einsum("bnhwc,wkc->bnhwk", query, relative_table(self.rel_pos_w, w))
        return (bias_h.unsqueeze(-1) + bias_w.unsqueeze(-2)).flatten(4).flatten(2, 3)


def relative_table(table: Tensor, size: int) -> Tensor:
    """(2 * n - 1, d) -> (size, size, d), entry [i, j] for key j seen from query i."""
    if table.shape[0] != 2 * size - 1:
        table = F.interpolate(table.T[None].float(), size=2 * size - 1, mode="linear")[0].T
    steps = torch.arange(size, device=table.device)
    return table[steps[:, None] - steps[None, :] + size - 1]


class RelativePositionBias(nn.Module):
    """One learned number per offset and head (BEiT's, Swin's).

    The UperNet recipe's bias over the whole crop: implus/mae_segmentation backbone/mae.py:66-92, and
    without a class token Alpha-VL/ConvMAE SEG/backbone/convmae.py:106-160 and DET/models/convmae.py;
    Sense-X/MixMIM models_mixmim.py:41-57 in windows.

    Args:
        grid: (rows, columns) that the table is made for. A smaller map reads the table's middle, since
            an offset means the same there; for a larger one it is resized bicubically.
        num_heads: heads of the attention.
        with_cls_token: the table has three more rows: class-to-patch, patch-to-class, class-to-class.
    """

    def __init__(self, grid: tuple[int, int], num_heads: int, with_cls_token: bool = True) -> None:
        super().__init__()
        self.grid = grid
        self.offsets = (2 * grid[0] - 1) * (2 * grid[1] - 1)
        self.table = nn.Parameter(torch.zeros(self.offsets + 3 * with_cls_token, num_heads))

    def forward(self, query: Tensor, grid: tuple[int, int]) -> Tensor:
        """query (B, heads, [1 +] H * W, d) -> bias (1, heads, N, N); N counts the class token."""
        with_cls_token = query.shape[2] != grid[0] * grid[1]
        return self.bias(grid, with_cls_token).to(query.dtype)

    def bias(self, grid: tuple[int, int], with_cls_token: bool = False) -> Tensor:
        """(1, heads, N, N) for a map of `grid`; N counts the class token."""
        of = (max(grid[0], self.grid[0]), max(grid[1], self.grid[1]))
        table = self.table if of == self.grid else self._resized(of)
        index = offset_index(grid, of, table.device)
        if not with_cls_token:
            index = index[1:, 1:]
        # Keys last in memory too: the fused kernels of GPUs want it so.
        return table.T[:, index].unsqueeze(0)

    def _resized(self, grid: tuple[int, int]) -> Tensor:
        offsets = resize_offsets(self.table[: self.offsets], self.grid, grid)
        return torch.cat([offsets, self.table[self.offsets :]])


def to_autocast(bias: Tensor) -> Tensor:
    """A bias that several blocks read, in autocast's type: they would each make and keep a copy."""
    device = bias.device.type
    return bias.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else bias


def resize_offsets(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """((2 h - 1) * (2 w - 1), heads) of the grid `old` -> the same of `new`, bicubic."""
    image = table.T.unflatten(1, (2 * old[0] - 1, 2 * old[1] - 1))
    size = (2 * new[0] - 1, 2 * new[1] - 1)
    image = F.interpolate(image[None].float(), size=size, mode="bicubic", align_corners=False)
    return image[0].flatten(1).T.to(table.dtype)


def offset_index(grid: tuple[int, int], table: tuple[int, int], device: torch.device) -> Tensor:
    """(1 + H * W, 1 + H * W) rows of the RelativePositionBias of grid `table`, class token first."""
    h, w = grid
    rows, columns = table
    y, x = torch.meshgrid(torch.arange(h, device=device), torch.arange(w, device=device), indexing="ij")
    y, x = y.flatten(), x.flatten()
    offsets = (y[:, None] - y + rows - 1) * (2 * columns - 1) + x[:, None] - x + columns - 1
    index = F.pad(offsets, (1, 0, 1, 0))
    last = (2 * rows - 1) * (2 * columns - 1)
    index[0, :], index[:, 0], index[0, 0] = last, last + 1, last + 2
    return index
