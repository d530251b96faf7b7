"""ConvMAE: Masked Convolution Meets Masked Autoencoders (arXiv 2205.03892), and FastConvMAE.

Masked patches are dropped before the first stage. The official code drops them after the second: it
computes the convolutional stages on the whole image, but nothing that it computes at a masked patch
reaches the loss, since the depthwise convolutions read masked input and the strided ones stay inside a
patch.
"""

from typing import Any

from torch import Tensor, nn

from mmmim.backbones.base import StageEncoder
from mmmim.backbones.conv_stages import merge_tokens
from mmmim.masking import PatchMask, complementary_masks, random_mask
from mmmim.methods.pixel_reconstruction import PixelDecoder, PixelReconstruction, PixelTarget
from mmmim.registry import MODELS


class MultiScaleFusion(nn.Module):
    """Project stages 1 and 2 to one token per patch, add them to stage 3, then normalize (section 3.2).

    models_convmae.py:37-38, 170, 175 and 189-190 (`stage1_output_decode`, `stage2_output_decode`,
    `norm`). Transfer reads none of it.

    Args:
        stage_dims: widths of the three stages.
        stage_sides: tokens along one side of a patch, in stages 1 and 2.
    """

    def __init__(self, stage_dims: tuple[int, int, int], stage_sides: tuple[int, int]) -> None:
        super().__init__()
        self.stage1, self.stage2 = (
            nn.Conv2d(dim, stage_dims[2], kernel_size=side, stride=side)
            for dim, side in zip(stage_dims[:2], stage_sides, strict=True)
        )
        self.norm = nn.LayerNorm(stage_dims[2], eps=1e-6)

    def forward(self, stages: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """(N, V, s, s, C1), (N, V, t, t, C2) and (N, V, C3) -> (N, V, C3)."""
        first, second, last = stages
        early = merge_tokens(first, self.stage1) + merge_tokens(second, self.stage2)
        return self.norm(last + early.flatten(1, 3))


@MODELS.register_module()
class ConvMAE(PixelReconstruction):
    """MAE with a hybrid encoder, whose stages are fused before the decoder.

    Args:
        backbone: config of a `ConvViT`.
        decoder: embed_dims, depth and num_heads of the `PixelDecoder`; default 512/8/16.
        mask_ratio: share of masked patches.
        norm_pix: normalize the target per patch.
        data_preprocessor: config of mmengine's `ImgDataPreprocessor`.
        init_cfg: mmengine's.

    Raises:
        ValueError: the backbone has no stages.
    """

    backbone: StageEncoder

    def __init__(
        self,
        backbone: dict[str, Any],
        decoder: dict[str, Any] | None = None,
        mask_ratio: float = 0.75,
        norm_pix: bool = True,
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        if not isinstance(self.backbone, StageEncoder):
            raise ValueError(f"ConvMAE needs a ConvViT, got {type(self.backbone).__name__}")
        self.fusion = MultiScaleFusion(self.backbone.stage_dims, self.backbone.stage_sides)
        self.decoder = PixelDecoder(
            self.backbone.embed_dims,
            self.backbone.grid_size,
            self.backbone.patch_size,
            with_cls_token=False,
            **(decoder or {}),
        )
        self.target = PixelTarget(self.backbone.patch_size, norm_pix)
        self.mask_ratio = mask_ratio

    def encode(self, images: Tensor, mask: PatchMask) -> Tensor:
        """(B, 3, H, W) and N = K * B masks -> (N, V, D): visible patches, stages fused."""
        return self.fusion(self.backbone.encode_visible_stages(images, mask))


@MODELS.register_module()
class FastConvMAE(ConvMAE):
    """ConvMAE on all complementary masks of an image at once.

    1 / (1 - mask_ratio) masks show every patch exactly once. Together they cost one unmasked pass of
    the encoder, except that the depthwise convolutions read one map per mask. Every patch is predicted
    from each mask that hides it.

    Alpha-VL/FastConvMAE models_fastconvmae.py, which supports a ratio of 0.75 only.
    """

    def draw_mask(self, images: Tensor) -> PatchMask:
        """(B, 3, H, W) -> the K complementary masks of each image (K * B, L)."""
        length = self.num_patches(images)
        return complementary_masks(len(images), length, self.mask_ratio, images.device)

    def draw_preview_mask(self, images: Tensor) -> PatchMask:
        """(B, 3, H, W) -> one mask per image (B, L)."""
        return random_mask(len(images), self.num_patches(images), self.mask_ratio, images.device)
