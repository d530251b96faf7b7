"""Masks drawn uniformly: MAE's and ConvMAE's."""

import torch
from mmengine.dist import get_rank, get_world_size
from torch import Tensor


def random_mask(batch: int, length: int, ratio: float, device: torch.device | str) -> Tensor:
    """Hide a share of the patches of every sample, uniformly. -> (batch, length) bool, True = hidden.

    `torch.rand(batch, length)` from the global generator of `device`; the `int(length * (1 - ratio))`
    smallest of a row stay visible (facebookresearch/mae models_mae.py:123-148).

    With several processes each draws the noise of the global batch and takes the rows of its own
    samples (sample j of rank r is row j * world + r, as the samplers deal them), so that
    processes seeded alike draw the masks that one process with the whole batch would draw.

    Raises:
        ValueError: `ratio` leaves no patch visible, or hides none.
    """
    keep = int(length * (1 - ratio))
    if not 0 < keep < length:
        raise ValueError(
            f"mask_ratio {ratio} keeps {keep} of {length} patches; "
            "it must leave at least one visible and one hidden"
        )
    world, rank = get_world_size(), get_rank()
    noise = torch.rand(batch * world, length, device=device)[rank::world]
    visible = noise.argsort(dim=1)[:, :keep]
    mask = torch.ones(batch, length, dtype=torch.bool, device=device)
    return mask.scatter_(1, visible, False)
