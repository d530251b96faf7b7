"""Masked pixel reconstruction (MAE, arXiv 2111.06377): the loop, the decoder and the target.

Shared by MAE, LSMAE, ConvMAE and FastConvMAE; PixMIM replaces the target, MixMIM uses the target.
"""

from abc import abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmim.layers.block import Block, init_like_mae
from mmmim.layers.tokens import flatten_pixels, patchify, sincos_2d, unpatchify
from mmmim.masking import PatchMask, random_mask
from mmmim.methods.base import Method
from mmmim.visualization import Panel, mask_patches, to_unit_range

EPSILON = 1e-6  # facebookresearch/mae models_mae.py:209


class PixelReconstruction(Method):
    """Mask patches, encode the visible ones, predict the pixels of the masked ones.

    Subclasses set `backbone`, `decoder` (a `PixelDecoder`), `target` (a `PixelTarget`) and
    `mask_ratio`, and implement `encode`.
    """

    decoder: "PixelDecoder"
    target: "PixelTarget"
    mask_ratio: float

    @abstractmethod
    def encode(self, images: Tensor, mask: PatchMask) -> Tensor:
        """(B, 3, H, W) and N = K * B masks -> the decoder's input (N, [1 +] V, D)."""

    def loss(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> mean squared error on masked patches (models_mae.py:198-216)."""
        mask = self.draw_mask(images)
        prediction = self.decoder(self.encode(images, mask), mask)
        target = self.target(images, mask)
        return dict(loss=(prediction.float() - target).square().mean())

    def draw_mask(self, images: Tensor) -> PatchMask:
        """(B, 3, H, W) -> uniform masks (B, L)."""
        return random_mask(len(images), self.num_patches(images), self.mask_ratio, images.device)

    def draw_preview_mask(self, images: Tensor) -> PatchMask:
        """(B, 3, H, W) -> one mask per image (B, L), for `predict`."""
        return self.draw_mask(images)

    @torch.no_grad()
    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> `reconstruction` and `target` (B, 3, H, W), `mask` (B, L).

        Visible patches of the reconstruction are those of the input; masked ones have `norm_pix`
        undone with the statistics of the true patch. All are in the scale of `images`.
        """
        mask = self.draw_preview_mask(images)
        prediction = self.decoder(self.encode(images, mask), mask)
        masked = self.target.to_pixels(prediction, images, mask)

        pixels = flatten_pixels(patchify(images.float(), self.backbone.patch_size))
        index = mask.masked_idx.unsqueeze(-1).expand_as(masked)
        reconstruction = unpatchify(pixels.scatter(1, index, masked), self.grid_of(images))
        target = self.target.source_images(images)
        return dict(reconstruction=reconstruction, mask=mask.mask, target=target)

    def panels(self, images: Tensor) -> list[Panel]:
        """uint8 (B, 3, H, W) -> original, input, reconstruction, target."""
        output = self.predict(self.normalize(images))
        original = to_unit_range(images)
        return [
            Panel("original", original),
            Panel("input", mask_patches(original, output["mask"])),
            Panel("reconstruction", self.denormalize(output["reconstruction"])),
            Panel("target", self.denormalize(output["target"])),
        ]

    def timed_parts(self, images: Tensor) -> dict[str, Callable[[], object]]:
        """What the target adds to the step."""
        return self.target.timed_parts(images)


class PixelDecoder(nn.Module):
    """MAE's decoder: visible tokens and mask tokens through a few blocks to the masked pixels.

    Args:
        in_dims: width of the encoder's tokens.
        grid_size: (rows, columns) of patches.
        patch_size: side of a patch in pixels.
        embed_dims, depth, num_heads: sizes; MAE uses 512/8/16 (models_mae.py:24).
        with_cls_token: whether a class token precedes the patches.
    """

    def __init__(
        self,
        in_dims: int,
        grid_size: tuple[int, int],
        patch_size: int,
        embed_dims: int = 512,
        depth: int = 8,
        num_heads: int = 16,
        with_cls_token: bool = True,
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(in_dims, embed_dims)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dims))
        self.num_patches, self.num_prefix = grid_size[0] * grid_size[1], int(with_cls_token)
        pos_embed = F.pad(sincos_2d(embed_dims, grid_size), (0, 0, self.num_prefix, 0)).unsqueeze(0)
        self.pos_embed = nn.Parameter(pos_embed, requires_grad=False)
        self.blocks = nn.ModuleList(Block(embed_dims, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dims, eps=1e-6)
        self.pred = nn.Linear(embed_dims, patch_size**2 * 3)
        init_like_mae(self)
        nn.init.normal_(self.mask_token, std=0.02)  # models_mae.py:81

    def forward(self, latent: Tensor, mask: PatchMask) -> Tensor:
        """Predict the pixels of the masked patches.

        The last block computes masked tokens only, since the loss reads no others.

        Args:
            latent: (N, [1 +] V, in_dims) of the encoder.
            mask: N masks.

        Returns:
            (N, M, p * p * 3).

        Raises:
            ValueError: the mask has another number of patches than the decoder.
        """
        check_num_patches(mask, self.num_patches)
        tokens = self.embed(latent)
        cls, visible = tokens[:, : self.num_prefix], tokens[:, self.num_prefix :]
        index = mask.visible_idx.unsqueeze(-1).expand_as(visible)
        fill = self.mask_token.to(tokens.dtype).repeat(*mask.mask.shape, 1)
        tokens = torch.cat([cls, fill.scatter(1, index, visible)], dim=1) + self.pos_embed
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        masked = self.blocks[-1](tokens, query_idx=self.num_prefix + mask.masked_idx)
        return self.pred(self.norm(masked))


def check_num_patches(mask: PatchMask, num_patches: int) -> None:
    """Check that the mask has the decoder's number of patches.

    Raises:
        ValueError: it has another.
    """
    if mask.num_patches != num_patches:
        raise ValueError(
            f"the decoder is made for {num_patches} patches, got a mask of {mask.num_patches}: "
            "pretrain at the backbone's img_size, or set img_size to the size of the images"
        )


class PixelTarget(nn.Module):
    """The pixels of the masked patches, normalized per patch: MAE's target.

    Args:
        patch_size: side of a patch in pixels.
        norm_pix: subtract the mean of each patch and divide by its deviation (models_mae.py:205-209).
    """

    def __init__(self, patch_size: int, norm_pix: bool = True) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.norm_pix = norm_pix

    @torch.no_grad()
    def forward(self, images: Tensor, mask: PatchMask | None = None) -> Tensor:
        """(B, 3, H, W) and N = K * B masks -> (N, M, p * p * 3) float32; all patches without mask."""
        patches = self._patches(images, mask)
        if not self.norm_pix:
            return patches
        mean, variance = _statistics(patches)
        return (patches - mean) / (variance + EPSILON).sqrt()

    @torch.no_grad()
    def to_pixels(self, prediction: Tensor, images: Tensor, mask: PatchMask | None = None) -> Tensor:
        """Undo `norm_pix` with the mean and deviation of the true patch, to look at a prediction.

        prediction (N, M, p * p * 3) -> the same shape in the scale of `images`.
        """
        if not self.norm_pix:
            return prediction.float()
        mean, variance = _statistics(self._patches(images, mask))
        return prediction.float() * (variance + EPSILON).sqrt() + mean

    def source_images(self, images: Tensor) -> Tensor:
        """The images that the target is cut from, (B, 3, H, W)."""
        return images

    def timed_parts(self, images: Tensor) -> dict[str, Callable[[], object]]:
        """See `Method.timed_parts`."""
        return {}

    def _patches(self, images: Tensor, mask: PatchMask | None) -> Tensor:
        patches = patchify(images.float(), self.patch_size)
        return flatten_pixels(patches if mask is None else mask.gather_masked(patches))


def _statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    # The variance is unbiased, torch's default, as in the official code.
    return patches.mean(dim=-1, keepdim=True), patches.var(dim=-1, keepdim=True)
