"""Non-overlapping square windows over a token map, padded at the bottom and right."""

import torch.nn.functional as F
from torch import Tensor


def split_windows(tokens: Tensor, size: int) -> Tensor:
    """(B, H, W, C) -> (B * windows, size * size, C); zeros where the map does not fill a window.

    The padding is attended to, as in detectron2 (modeling/backbone/utils.py:17-40).
    """
    b, h, w, c = tokens.shape
    if h % size or w % size:  # padding by nothing would copy
        tokens = F.pad(tokens, (0, 0, 0, -w % size, 0, -h % size))
    rows, columns = tokens.shape[1] // size, tokens.shape[2] // size
    tokens = tokens.reshape(b, rows, size, columns, size, c).permute(0, 1, 3, 2, 4, 5)
    return tokens.reshape(b * rows * columns, size * size, c)


def join_windows(windows: Tensor, size: int, grid: tuple[int, int]) -> Tensor:
    """Undoes `split_windows`: -> (B, H, W, C) for `grid` = (H, W), padding removed."""
    h, w = grid
    rows, columns = -(-h // size), -(-w // size)
    c = windows.shape[-1]
    tokens = windows.reshape(-1, rows, columns, size, size, c).permute(0, 1, 3, 2, 4, 5)
    return tokens.reshape(-1, rows * size, columns * size, c)[:, :h, :w]
