"""What MAE, ConvMAE and FastConvMAE share: hide patches, encode the rest, predict the hidden pixels."""

import torch
from torch import Tensor

from mmmim.layers.patches import flatten_pixels, join_patches, split_patches
from mmmim.layers.tokens import hidden_indices
from mmmim.masking import count_visible, random_mask
from mmmim.methods.base import Method


class PixelMethod(Method):
    """A method has a `backbone`, an `encode`, a `decoder`, a `target` and a `mask_ratio`."""

    def encode(self, images: Tensor, mask: Tensor, visible: int) -> Tensor:
        """(B, 3, H, W) and mask (K * B, L) -> what the decoder reads, V visible patches alone."""
        raise NotImplementedError

    def loss(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> mean squared error on hidden patches (models_mae.py:198-216)."""
        mask, visible = self.draw_masks(images), self.count_visible(images)
        prediction = self.decoder(self.encode(images, mask, visible), mask)
        target = self.target(images, mask, mask.shape[1] - visible)
        return dict(loss=(prediction.float() - target).square().mean())

    def draw_masks(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (K * B, L) bool: K masks of each image, one batch after another."""
        return self.draw_mask(images)

    def draw_mask(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, L) bool, True = hidden."""
        return random_mask(len(images), self.count_patches(images), self.mask_ratio, images.device)

    def count_visible(self, images: Tensor) -> int:
        """V, the patches that a mask of `draw_masks` shows; known without asking the mask."""
        return count_visible(self.count_patches(images), self.mask_ratio)

    @torch.no_grad()
    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> reconstruction and target (B, 3, H, W), mask (B, L).

        Visible patches of the reconstruction are the input's own; hidden ones have `norm_pix` undone.
        All are in the scale of `images`.
        """
        mask = self.draw_mask(images)
        prediction = self.decoder(self.encode(images, mask, self.count_visible(images)), mask)
        seen = self.target.seen_as(images)
        hidden = self.target.to_pixels(prediction, images, mask)

        p = self.backbone.patch_size
        pixels = flatten_pixels(split_patches(images.float(), p))
        index = hidden_indices(mask).unsqueeze(-1).expand_as(hidden)
        grid = (images.shape[2] // p, images.shape[3] // p)
        reconstruction = join_patches(pixels.scatter(1, index, hidden), grid)
        return dict(reconstruction=reconstruction, mask=mask, target=seen)
