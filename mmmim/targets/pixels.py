"""Pixels of hidden patches, normalised patch by patch: MAE's target."""

import torch
from torch import Tensor, nn

from mmmim.layers.patches import flatten_pixels, split_patches
from mmmim.layers.tokens import gather_patches, hidden_indices

# facebookresearch/mae models_mae.py:209
EPSILON = 1e-6


class PixelTarget(nn.Module):
    """The hidden patches of the input itself.

    Args:
        patch_size: side of a patch in pixels.
        norm_pix: subtract each patch's mean and divide by its deviation (models_mae.py:205-209).
    """

    def __init__(self, patch_size: int, norm_pix: bool = True) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.norm_pix = norm_pix

    @torch.no_grad()
    def forward(self, images: Tensor, mask: Tensor | None = None, hidden: int | None = None) -> Tensor:
        """(B, 3, H, W) and mask (K * B, L) -> (K * B, M, p * p * 3) float32, hidden patches in order.

        K masks of each image, one batch after another; without a mask, all patches. `hidden` is M;
        where it is left out, the mask is asked, which waits for a GPU.
        """
        patches = self._patches(images, mask, hidden)
        if not self.norm_pix:
            return patches
        mean, variance = _statistics(patches)
        return (patches - mean) / (variance + EPSILON).sqrt()

    @torch.no_grad()
    def to_pixels(self, prediction: Tensor, images: Tensor, mask: Tensor | None = None) -> Tensor:
        """Undo `norm_pix` for looking: each patch gets the true mean and deviation back.

        prediction (B, M, p * p * 3) -> the same shape in the scale of `images`.
        """
        if not self.norm_pix:
            return prediction.float()
        mean, variance = _statistics(self._patches(images, mask))
        return prediction.float() * (variance + EPSILON).sqrt() + mean

    def seen_as(self, images: Tensor) -> Tensor:
        """The images that the target is cut from, (B, 3, H, W)."""
        return images

    def _patches(self, images: Tensor, mask: Tensor | None, hidden: int | None = None) -> Tensor:
        patches = split_patches(images.float(), self.patch_size)
        if mask is not None:
            patches = gather_patches(patches, hidden_indices(mask, hidden))
        return flatten_pixels(patches)


def _statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    # var is torch's default, unbiased, as in the official code.
    return patches.mean(dim=-1, keepdim=True), patches.var(dim=-1, keepdim=True)
