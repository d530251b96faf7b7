"""MixMIM (MixMAE): mixed and masked autoencoder for hierarchical transformers (arXiv 2205.13137)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmmim.backbones.base import MixedEncoder
from mmmim.layers.block import Block, init_like_mae
from mmmim.layers.tokens import flatten_pixels, patchify, sincos_2d, unpatchify
from mmmim.masking import PatchMask, mixing_mask
from mmmim.methods.base import Method
from mmmim.methods.pixel_reconstruction import PixelTarget, check_num_patches
from mmmim.registry import MODELS
from mmmim.visualization import Panel, to_unit_range


@MODELS.register_module()
class MixMIM(Method):
    """Replace the masked patches of an image by its partner's, and reconstruct both from the mixture.

    The partner is the image at the mirrored place in the batch. In an odd batch the middle image is its
    own partner, as in the official code.

    Args:
        backbone: config of a `MixMIMTransformer`.
        decoder: embed_dims, depth and num_heads of the `DualDecoder`; default 512/8/16.
        mask_ratio: share of patches that show the partner.
        range_mask_ratio: if not 0, each step draws its ratio uniformly from mask_ratio to
            mask_ratio + range_mask_ratio, with torch's CPU generator (the official code: Python's).
        norm_pix: normalize the target per patch.
        data_preprocessor: config of mmengine's `ImgDataPreprocessor`.
        init_cfg: mmengine's.

    Raises:
        ValueError: the backbone cannot mix, or returns maps that pretraining does not read; the ratios
            leave no patch of an image.
    """

    backbone: MixedEncoder
    min_batch = 2

    def __init__(
        self,
        backbone: dict[str, Any],
        decoder: dict[str, Any] | None = None,
        mask_ratio: float = 0.5,
        range_mask_ratio: float = 0.0,
        norm_pix: bool = True,
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        if not isinstance(self.backbone, MixedEncoder):
            raise ValueError(f"MixMIM needs a MixMIMTransformer, got {type(self.backbone).__name__}")
        if self.backbone.out_indices != (3,):
            raise ValueError(
                "MixMIM reads only the last stage: keep the backbone's out_indices at (3,), "
                f"got {self.backbone.out_indices}"
            )
        if mask_ratio + range_mask_ratio >= 1:
            raise ValueError(
                "mask_ratio + range_mask_ratio must be below 1, or no patch of an image is left; "
                f"got {mask_ratio} + {range_mask_ratio}"
            )
        self.decoder = DualDecoder(
            self.backbone.embed_dims,
            self.backbone.grid_size,
            self.backbone.patch_size,
            **(decoder or {}),
        )
        self.target = PixelTarget(self.backbone.patch_size, norm_pix)
        self.mask_ratio, self.range_mask_ratio = mask_ratio, range_mask_ratio

    def loss(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> mean squared error, every patch of every image once."""
        mask = self.draw_mask(images)
        prediction = self.reconstruct(images, mask)
        target = self.target(images)
        return dict(loss=(prediction.float() - target).square().mean())

    def draw_mask(self, images: Tensor) -> PatchMask:
        """(B, 3, H, W) -> one mask (1, L), True where the partner is shown."""
        mask_ratio = self.mask_ratio
        if self.range_mask_ratio:
            mask_ratio += self.range_mask_ratio * torch.rand(()).item()
        return mixing_mask(self.num_patches(images), mask_ratio, images.device)

    def encode(self, images: Tensor, mask: PatchMask) -> Tensor:
        """(B, 3, H, W) and a mask (1, L) -> tokens (B, L, D) of the mixtures."""
        return self.backbone.encode_mixed(images, mask)

    def reconstruct(self, images: Tensor, mask: PatchMask) -> Tensor:
        """(B, 3, H, W) -> (B, L, p * p * 3), each patch from the mixture that does not show it."""
        own, partner = self.decoder(self.encode(images, mask), mask)
        # Visible patches of an image are masked in the mixture of its partner.
        patches = torch.cat([partner.flip(0), own], dim=1)
        order = torch.cat([mask.visible_idx, mask.masked_idx], dim=1)[0]
        return torch.empty_like(patches).index_copy(1, order, patches)

    @torch.no_grad()
    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> what a mixture shows and what is reconstructed from it.

        `mask` (B, L), and images (B, 3, H, W) in the scale of `images`: the `mixed` input; the
        `reconstruction` and the `partner_reconstruction`, which keep the patches that the mixture
        shows and predict the others with `norm_pix` undone; the `target`, and the target of the
        `partner`.
        """
        mask = self.draw_mask(images)
        prediction = self.target.to_pixels(self.reconstruct(images, mask), images)
        pixels = flatten_pixels(patchify(images.float(), self.backbone.patch_size))
        shows_partner = mask.mask.unsqueeze(-1)
        own = torch.where(shows_partner, prediction, pixels)
        partner = torch.where(shows_partner, pixels, prediction).flip(0)
        mixed = torch.where(shows_partner, pixels.flip(0), pixels)
        grid, target = self.grid_of(images), self.target.source_images(images)
        return dict(
            mask=mask.mask.expand(len(images), -1),
            mixed=unpatchify(mixed, grid),
            reconstruction=unpatchify(own, grid),
            partner_reconstruction=unpatchify(partner, grid),
            target=target,
            partner=target.flip(0),
        )

    def panels(self, images: Tensor) -> list[Panel]:
        """uint8 (B, 3, H, W) -> original, mixture, reconstruction and target of both images."""
        output = self.predict(self.normalize(images))
        captions = dict(
            mixed="input",
            reconstruction="reconstruction",
            target="target",
            partner_reconstruction="the partner's reconstruction",
            partner="the partner",
        )
        shown = [Panel(text, self.denormalize(output[key])) for key, text in captions.items()]
        return [Panel("original", to_unit_range(images)), *shown]

    def timed_parts(self, images: Tensor) -> dict[str, Callable[[], object]]:
        """What the target adds to the step."""
        return self.target.timed_parts(images)


class DualDecoder(nn.Module):
    """Decode both images of a mixture: mask tokens take the place of the other image's patches.

    Section 3.2; Sense-X/MixMIM models_mixmim.py:259-279, 385-406, where every LayerNorm has eps 1e-5.

    Args:
        in_dims: width of the encoder's tokens.
        grid_size: (rows, columns) of patches.
        patch_size: side of a patch in pixels.
        embed_dims, depth, num_heads: sizes; officially 512/8/16.
    """

    def __init__(
        self,
        in_dims: int,
        grid_size: tuple[int, int],
        patch_size: int,
        embed_dims: int = 512,
        depth: int = 8,
        num_heads: int = 16,
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(in_dims, embed_dims)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dims))
        pos_embed = sincos_2d(embed_dims, grid_size).unsqueeze(0)
        self.pos_embed = nn.Parameter(pos_embed, requires_grad=False)
        self.blocks = nn.ModuleList(Block(embed_dims, num_heads, eps=1e-5) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dims, eps=1e-5)
        self.pred = nn.Linear(embed_dims, patch_size**2 * 3)
        init_like_mae(self)
        nn.init.trunc_normal_(self.mask_token, std=0.02)  # models_mixmim.py:260

    def forward(self, latent: Tensor, mask: PatchMask) -> tuple[Tensor, Tensor]:
        """Predict the patches of each image that the mixture does not show.

        Args:
            latent: (B, L, in_dims) of the mixtures.
            mask: (1, L), True where the partner is shown.

        Returns:
            (B, M, p * p * 3), the image's own patches where the partner is shown, and
            (B, V, p * p * 3), the partner's patches where the image is shown.

        Raises:
            ValueError: the mask has another number of patches than the decoder.
        """
        check_num_patches(mask, self.pos_embed.shape[1])
        tokens = self.embed(latent)
        fill, shows_partner = self.mask_token.to(tokens.dtype), mask.mask.unsqueeze(-1)
        own = torch.where(shows_partner, fill, tokens)
        partner = torch.where(shows_partner, tokens, fill)
        tokens = torch.cat([own, partner]) + self.pos_embed
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        # The last block computes only what the loss reads: each patch of each image once.
        own, partner = tokens.chunk(2)
        batch, last = len(own), self.blocks[-1]
        own = last(own, query_idx=mask.masked_idx.expand(batch, -1))
        partner = last(partner, query_idx=mask.visible_idx.expand(batch, -1))
        return self.pred(self.norm(own)), self.pred(self.norm(partner))
