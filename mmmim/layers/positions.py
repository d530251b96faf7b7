"""Absolute positions: the fixed 2-D sine-cosine table, and resizing any table."""

import torch
import torch.nn.functional as F
from torch import Tensor


def sincos_2d(dim: int, grid: tuple[int, int]) -> Tensor:
    """(rows * columns, dim) float32; first half of `dim` encodes the column, second the row.

    Temperature 10000 and the order "width first": facebookresearch/mae util/pos_embed.py:20-67.

    Raises:
        ValueError: `dim` is not a multiple of 4.
    """
    if dim % 4:
        raise ValueError(f"sine-cosine positions need a width divisible by 4, got {dim}")
    rows, columns = grid
    omega = 10000.0 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    y, x = torch.meshgrid(
        torch.arange(rows, dtype=torch.float64),
        torch.arange(columns, dtype=torch.float64),
        indexing="ij",
    )
    angle_x, angle_y = x.reshape(-1, 1) * omega, y.reshape(-1, 1) * omega
    return torch.cat([angle_x.sin(), angle_x.cos(), angle_y.sin(), angle_y.cos()], dim=1).float()


def resize_positions(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """(1, rows * columns, D) of grid `old` -> the same of grid `new`, bicubic.

    As detectron2's get_abs_pos (modeling/backbone/utils.py:129-157) and MAE's interpolate_pos_embed.
    """
    if old == new:
        return table
    image = table.reshape(1, *old, -1).permute(0, 3, 1, 2)
    image = F.interpolate(image.float(), size=new, mode="bicubic", align_corners=False)
    return image.permute(0, 2, 3, 1).reshape(1, new[0] * new[1], -1).to(table.dtype)
