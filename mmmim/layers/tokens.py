"""Choosing tokens by a mask: boolean, True = hidden, (B, L) in row-major patch order."""

import torch
from torch import Tensor


def check_mask(mask: Tensor, patches: Tensor) -> None:
    """Whether a mask (K * B, L) is one of patches (B, L, ...).

    Raises:
        ValueError: it is not.
    """
    images, length = patches.shape[:2]
    if mask.dim() != 2 or mask.shape[1] != length or len(mask) % images:
        raise ValueError(
            f"mask must have shape ({images}, {length}) (images x patches), or several such one after "
            f"another, got {tuple(mask.shape)}"
        )


def visible_first(mask: Tensor) -> Tensor:
    """(..., L) mask -> (..., L) positions, the visible ones first, either part ascending."""
    # A stable sort of False before True keeps row-major order on either side.
    return mask.to(torch.uint8).argsort(dim=-1, stable=True)


def visible_indices(mask: Tensor, count: int | None = None) -> Tensor:
    """(B, L) mask -> (B, V) positions of the visible tokens, ascending.

    Args:
        mask: of tokens.
        count: how many of each sample are visible, which the caller vouches for; where it is left
            out, the mask is asked, which waits for a GPU.

    Raises:
        ValueError: the samples do not all hide the same number of tokens, or nothing is visible.
    """
    if count is not None:
        return visible_first(mask)[:, :count]
    visible = (~mask).sum(dim=1)
    fewest, most = int(visible.min()), int(visible.max())
    if fewest != most or fewest == 0:
        raise ValueError(
            "every sample must keep the same, non-zero number of visible patches; "
            f"got between {fewest} and {most} of {mask.shape[1]}. Lower mask_ratio, "
            "or draw the mask with one of mmmim.masking's functions"
        )
    return visible_first(mask)[:, :most]


def hidden_indices(mask: Tensor, count: int | None = None) -> Tensor:
    """(B, L) mask -> (B, M) positions of the hidden tokens, ascending; see `visible_indices`."""
    return visible_indices(~mask, count)


def gather_patches(patches: Tensor, indices: Tensor) -> Tensor:
    """Patches (B, L, ...) of images and (K * B, V) -> (K * B, V, ...).

    Row i of the indices is of image i % B: several masks of one batch come one after another.
    """
    image = torch.arange(len(indices), device=indices.device) % len(patches)
    return patches[image.unsqueeze(1), indices]


def gather_tokens(tokens: Tensor, indices: Tensor) -> Tensor:
    """(B, L, ...) and (B, K) -> (B, K, ...)."""
    index = indices.reshape(*indices.shape, *[1] * (tokens.dim() - 2))
    return tokens.gather(1, index.expand(*indices.shape, *tokens.shape[2:]))


def at_scale(mask: Tensor, grid: tuple[int, int], scale: int) -> Tensor:
    """(1, L) on `grid` -> (L * scale * scale,), every patch as a square of finer tokens."""
    fine = mask.view(grid).repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    return fine.flatten()
