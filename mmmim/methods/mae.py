"""MAE: Masked Autoencoders Are Scalable Vision Learners (arXiv 2111.06377)."""

import torch
from torch import Tensor

from mmmim.decoders import PixelDecoder
from mmmim.layers.patches import flatten_pixels, join_patches, split_patches
from mmmim.layers.tokens import hidden_indices
from mmmim.masking import random_mask
from mmmim.methods.base import Method
from mmmim.registry import MODELS
from mmmim.targets import PixelTarget


@MODELS.register_module()
class MAE(Method):
    """Hide most patches, encode the rest, predict the hidden pixels.

    Args:
        backbone: config of a `ViT` with a class token.
        decoder: embed_dims, depth and num_heads of the `PixelDecoder`; 512/8/16 where left out.
        mask_ratio: share of hidden patches.
        norm_pix: normalise the target patch by patch.
        data_preprocessor: config of mmengine's `ImgDataPreprocessor`.

    Raises:
        ValueError: the backbone has no class token.
    """

    def __init__(
        self,
        backbone: dict,
        decoder: dict | None = None,
        mask_ratio: float = 0.75,
        norm_pix: bool = True,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        if self.backbone.cls_token is None:
            raise ValueError("MAE's backbone needs its class token: set with_cls_token=True")
        grid, patch_size = self.backbone.grid, self.backbone.patch_size
        self.decoder = PixelDecoder(self.backbone.embed_dims, grid, patch_size, **(decoder or {}))
        self.target = PixelTarget(patch_size, norm_pix)
        self.mask_ratio = mask_ratio

    def loss(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> mean squared error on hidden patches (models_mae.py:198-216)."""
        mask = self.draw_mask(images)
        latent = self.backbone.encode_visible(images, mask)
        prediction = self.decoder(latent, mask)
        target = self.target(images, mask)
        return dict(loss=(prediction.float() - target).square().mean())

    def draw_mask(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, L) bool, True = hidden."""
        p = self.backbone.patch_size
        length = (images.shape[2] // p) * (images.shape[3] // p)
        return random_mask(len(images), length, self.mask_ratio, images.device)

    @torch.no_grad()
    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> reconstruction and target (B, 3, H, W), mask (B, L).

        Visible patches of the reconstruction are the input's own; hidden ones have `norm_pix` undone.
        All are in the scale of `images`.
        """
        mask = self.draw_mask(images)
        prediction = self.decoder(self.backbone.encode_visible(images, mask), mask)
        seen = self.target.seen_as(images)
        hidden = self.target.to_pixels(prediction, images, mask)

        p = self.backbone.patch_size
        pixels = flatten_pixels(split_patches(images.float(), p))
        index = hidden_indices(mask).unsqueeze(-1).expand_as(hidden)
        grid = (images.shape[2] // p, images.shape[3] // p)
        reconstruction = join_patches(pixels.scatter(1, index, hidden), grid)
        return dict(reconstruction=reconstruction, mask=mask, target=seen)
