"""MixMIM (MixMAE): mixed and masked autoencoder for hierarchical transformers (arXiv 2205.13137)."""

import torch
from torch import Tensor

from mmmim.decoders import DualDecoder
from mmmim.layers.patches import flatten_pixels, join_patches, split_patches
from mmmim.layers.tokens import visible_first
from mmmim.masking import mixing_mask
from mmmim.methods.base import Method
from mmmim.registry import MODELS
from mmmim.targets import PixelTarget


@MODELS.register_module()
class MixMIM(Method):
    """Fill what is hidden of an image with its partner, and reconstruct both from the mixture.

    The partner is the image at the same place from the batch's end; in an odd batch the middle one
    is its own, as in the official code.

    Args:
        backbone: config of a `MixMIMTransformer`.
        decoder: embed_dims, depth and num_heads of the `DualDecoder`; 512/8/16 where left out.
        mask_ratio: share of an image that the partner takes.
        range_mask_ratio: each step draws its ratio from mask_ratio to mask_ratio + this, uniformly,
            by torch's generator of the CPU (the official code: by Python's).
        norm_pix: normalise the target patch by patch.
        data_preprocessor: config of mmengine's `ImgDataPreprocessor`.

    Raises:
        ValueError: the backbone does not mix, or has maps that pretraining does not read; the
            ratios leave nothing of an image.
    """

    def __init__(
        self,
        backbone: dict,
        decoder: dict | None = None,
        mask_ratio: float = 0.5,
        range_mask_ratio: float = 0.0,
        norm_pix: bool = True,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        if not hasattr(self.backbone, "absolute_pos_embed"):
            raise ValueError(f"MixMIM needs a MixMIMTransformer, got {type(self.backbone).__name__}")
        if self.backbone.out_indices != (3,):
            raise ValueError(
                "pretraining reads the last stage alone: leave the backbone's out_indices at (3,), "
                f"got {self.backbone.out_indices}"
            )
        if mask_ratio + range_mask_ratio >= 1:
            raise ValueError(
                "mask_ratio + range_mask_ratio must stay below 1, or nothing of an image is left; "
                f"got {mask_ratio} + {range_mask_ratio}"
            )
        grid, patch_size = self.backbone.grid, self.backbone.patch_size
        self.decoder = DualDecoder(self.backbone.embed_dims, grid, patch_size, **(decoder or {}))
        self.target = PixelTarget(patch_size, norm_pix)
        self.mask_ratio, self.range_mask_ratio = mask_ratio, range_mask_ratio

    def loss(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> mean squared error, every patch of every image once."""
        mask, hidden = self.draw_mask(images)
        prediction = self.reconstruct(images, mask, hidden)
        target = self.target(images)
        return dict(loss=(prediction.float() - target).square().mean())

    def draw_mask(self, images: Tensor) -> tuple[Tensor, int]:
        """(B, 3, H, W) -> (1, L) bool, True where the partner is seen, and how many are True."""
        ratio = self.mask_ratio
        if self.range_mask_ratio:
            ratio += self.range_mask_ratio * torch.rand(()).item()
        return mixing_mask(self.count_patches(images), ratio, images.device)

    def reconstruct(self, images: Tensor, mask: Tensor, hidden: int) -> Tensor:
        """(B, 3, H, W) -> (B, L, p * p * 3), each patch of an image from the mixture that hides it."""
        own, partner = self.decoder(self.backbone.encode_visible(images, mask, hidden), mask, hidden)
        patches = torch.cat([partner.flip(0), own], dim=1)  # shown in its own mixture, then hidden
        return torch.empty_like(patches).index_copy(1, visible_first(mask[0]), patches)

    @torch.no_grad()
    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> what a mixture shows and what is made of it, in the scale of `images`.

        `mask` (B, L), and images (B, 3, H, W): the `mixed` input; the `reconstruction` and the
        `partner_reconstruction`, whose patches are the mixture's own where it shows the image, and
        predicted elsewhere with `norm_pix` undone; the `target`, and the `partner`'s.
        """
        mask, hidden = self.draw_mask(images)
        p = self.backbone.patch_size
        grid = (images.shape[2] // p, images.shape[3] // p)
        prediction = self.target.to_pixels(self.reconstruct(images, mask, hidden), images)

        pixels = flatten_pixels(split_patches(images.float(), p))
        partner_seen = mask.unsqueeze(-1)
        own = torch.where(partner_seen, prediction, pixels)
        partner = torch.where(partner_seen, pixels, prediction).flip(0)
        mixed = torch.where(partner_seen, pixels.flip(0), pixels)
        seen = self.target.seen_as(images)
        return dict(
            mask=mask.expand(len(images), -1),
            mixed=join_patches(mixed, grid),
            reconstruction=join_patches(own, grid),
            partner_reconstruction=join_patches(partner, grid),
            target=seen,
            partner=seen.flip(0),
        )
