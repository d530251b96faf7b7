"""MixMIM's mask: one for the whole batch, which says where an image shows its partner."""

import torch
from mmengine.dist import get_rank, get_world_size
from torch import Tensor

from mmmim.masking.random import check_ratio


def mixing_mask(length: int, ratio: float, device: torch.device | str) -> tuple[Tensor, int]:
    """Hide a share of the patches, the same for all samples.

    -> (1, length) bool, True = hidden, and how many are True.

    `torch.rand(1, 1, length)` from the global generator of `device`; the `int(length * ratio)` smallest
    are hidden (Sense-X/MixMIM models_mixmim.py:305-332). With several processes each has a mask of its
    own, as there: all draw the noise of all, so that they may be seeded alike, and take their row.

    Raises:
        ValueError: `ratio` hides no patch, or all.
    """
    hidden = int(length * ratio)
    check_ratio(ratio, length - hidden, length)
    noise = torch.rand(get_world_size(), 1, length, device=device)[get_rank()]
    mask = torch.zeros(1, length, dtype=torch.bool, device=device)
    return mask.scatter_(1, noise.argsort(dim=1)[:, :hidden], True), hidden
