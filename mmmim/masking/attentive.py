"""MaskAlign's mask: what the teacher attends to is likelier kept (arXiv 2211.08887, section 3.2)."""

import torch
from mmengine.dist import get_rank, get_world_size
from torch import Tensor

from mmmim.masking.random import check_ratio, count_visible, hide_all_but


def attentive_mask(importance: Tensor, ratio: float) -> Tensor:
    """Keep patches by weighted sampling without replacement. -> (B, L) bool, True = hidden.

    `torch.multinomial(importance, L, replacement=False)` from the global generator of its device; the
    first `int(L * (1 - ratio))` of a row stay visible (maskalign models_pretrain.py:218-244). torch
    computes it as the order of importance / noise, noise exponential, and so does this, to give
    processes that are seeded alike the rows of one global draw (see `random_mask`).

    Args:
        importance: (B, L) float32, all positive; rows need not sum to one.
        ratio: share of hidden patches.

    Raises:
        ValueError: `ratio` leaves no patch visible, or hides none.
        RuntimeError: a weight is not positive; on a GPU, where asking would wait, it comes from the
            device, as torch.multinomial's does.
    """
    batch, length = importance.shape
    keep = count_visible(length, ratio)
    check_ratio(ratio, keep, length)
    torch._assert_async(
        (importance > 0).all(),
        "every patch needs a positive weight to be drawn, and the teacher's attention has zeros or "
        "NaN: check the teacher's weights, and that its attention was taken in float32",
    )
    world, rank = get_world_size(), get_rank()
    noise = torch.empty(batch * world, length, device=importance.device).exponential_()[rank::world]
    return hide_all_but((importance / noise).argsort(dim=1, descending=True)[:, :keep], length)
