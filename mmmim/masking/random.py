"""Masks drawn uniformly: MAE's and ConvMAE's, and FastConvMAE's complementary ones."""

import torch
from mmengine.dist import get_rank, get_world_size
from torch import Tensor


def random_mask(batch: int, length: int, ratio: float, device: torch.device | str) -> Tensor:
    """Hide a share of the patches of every sample, uniformly. -> (batch, length) bool, True = hidden.

    `torch.rand(batch, length)` from the global generator of `device`; the `int(length * (1 - ratio))`
    smallest of a row stay visible (facebookresearch/mae models_mae.py:123-148).

    Raises:
        ValueError: `ratio` leaves no patch visible, or hides none.
    """
    keep = count_visible(length, ratio)
    check_ratio(ratio, keep, length)
    return hide_all_but(_shuffled(batch, length, device)[:, :keep], length)


def count_visible(length: int, ratio: float) -> int:
    """How many of `length` patches stay visible (facebookresearch/mae models_mae.py:129)."""
    return int(length * (1 - ratio))


def hide_all_but(visible: Tensor, length: int) -> Tensor:
    """Positions (..., V) -> (..., length) bool, False at these and True elsewhere."""
    mask = torch.ones(*visible.shape[:-1], length, dtype=torch.bool, device=visible.device)
    return mask.scatter_(-1, visible, False)


def block_mask(
    batch: int, grid: tuple[int, int], side: int, ratio: float, device: torch.device | str
) -> Tensor:
    """Hide squares of `side` x `side` patches. -> (batch, rows * columns) bool, True = hidden.

    `random_mask` of the squares, every one of whose patches shares its fate (long_seq_mae
    util/long_seq_patch_loader.py:44-66, which shuffles by numpy).

    Raises:
        ValueError: `side` does not divide the grid; `ratio` leaves no square visible, or hides none.
    """
    rows, columns = grid
    if rows % side or columns % side:
        raise ValueError(
            f"squares of {side}x{side} patches do not divide {rows}x{columns} patches: take an image "
            f"size that is a multiple of {side} patches, or mask_block=1"
        )
    squares = random_mask(batch, rows * columns // side**2, ratio, device)
    squares = squares.view(batch, rows // side, columns // side)
    return squares.repeat_interleave(side, dim=1).repeat_interleave(side, dim=2).flatten(1)


def check_ratio(ratio: float, visible: int, length: int) -> None:
    """Whether something is visible and something hidden.

    Raises:
        ValueError: it is not so.
    """
    if not 0 < visible < length:
        raise ValueError(
            f"mask_ratio {ratio} keeps {visible} of {length} patches; it must leave one visible and "
            f"one hidden at least: between {1 / max(length, 1):.2g} and {1 - 1 / max(length, 1):.2g}"
        )


def complementary_masks(batch: int, length: int, ratio: float, device: torch.device | str) -> Tensor:
    """Masks that together show every patch once. -> (masks, batch, length) bool, True = hidden.

    One draw as `random_mask`'s, whose order is cut into 1 / (1 - ratio) equal parts, each visible in
    one mask (Alpha-VL/FastConvMAE models_fastconvmae.py:140-190).

    Raises:
        ValueError: the visible share does not divide the patches into equal parts.
    """
    parts = count_parts(ratio)
    if parts < 2 or abs(parts * (1 - ratio) - 1) > 1e-6 or length % parts:
        ratios = [f"{1 - 1 / n:.4g}" for n in range(2, 11) if length % n == 0]
        raise ValueError(
            f"mask_ratio {ratio} does not split {length} patches into equal visible parts; take one of "
            f"{', '.join(ratios) or 'none up to 0.9'} (1 - 1 / n, n a divisor), or another image size"
        )
    parts_visible = _shuffled(batch, length, device).unflatten(1, (parts, -1)).transpose(0, 1)
    return hide_all_but(parts_visible, length)


def count_parts(ratio: float) -> int:
    """How many masks show every patch once."""
    return round(1 / (1 - ratio)) if ratio < 1 else 0


def _shuffled(batch: int, length: int, device: torch.device | str) -> Tensor:
    """(batch, length) patches in random order.

    With several processes each draws the noise of the global batch and takes the rows of its own
    samples (sample j of rank r is row j * world + r, as the samplers deal them), so that
    processes seeded alike draw the masks that one process with the whole batch would draw.
    """
    world, rank = get_world_size(), get_rank()
    return torch.rand(batch * world, length, device=device)[rank::world].argsort(dim=1)
