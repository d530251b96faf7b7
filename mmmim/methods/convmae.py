"""ConvMAE: Masked Convolution Meets Masked Autoencoders (arXiv 2205.03892), and its fast form.

Masked patches are dropped before the first stage, not after the second: the official code computes
the convolutional stages on the whole image, but nothing that it computes at a hidden patch reaches
the loss, since the depthwise convolutions see masked input and the strided ones stay in a patch.
"""

from torch import Tensor

from mmmim.decoders import MultiScaleFusion, PixelDecoder
from mmmim.masking import complementary_masks, count_parts
from mmmim.methods.pixel_method import PixelMethod
from mmmim.registry import MODELS
from mmmim.targets import PixelTarget


@MODELS.register_module()
class ConvMAE(PixelMethod):
    """MAE with a hybrid encoder, whose stages are fused before the decoder.

    Args:
        backbone: config of a `ConvViT`.
        decoder: embed_dims, depth and num_heads of the `PixelDecoder`; 512/8/16 where left out.
        mask_ratio: share of hidden patches.
        norm_pix: normalise the target patch by patch.
        data_preprocessor: config of mmengine's `ImgDataPreprocessor`.

    Raises:
        ValueError: the backbone has no stages.
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
        if not hasattr(self.backbone, "encode_visible_stages"):
            raise ValueError(f"ConvMAE needs a ConvViT, got {type(self.backbone).__name__}")
        grid, patch_size = self.backbone.grid, self.backbone.patch_size
        self.fusion = MultiScaleFusion(self.backbone.stage_dims, self.backbone.sides)
        self.decoder = PixelDecoder(
            self.backbone.embed_dims, grid, patch_size, with_cls_token=False, **(decoder or {})
        )
        self.target = PixelTarget(patch_size, norm_pix)
        self.mask_ratio = mask_ratio

    def encode(self, images: Tensor, mask: Tensor, visible: int) -> Tensor:
        """(B, 3, H, W) and mask (B, L) -> (B, V, D): visible patches, all stages in one."""
        return self.fusion(self.backbone.encode_visible_stages(images, mask, visible))


@MODELS.register_module()
class FastConvMAE(ConvMAE):
    """ConvMAE that sees every image under all its complementary masks at once.

    1 / (1 - mask_ratio) masks, each patch visible in exactly one: the encoder does the work of one
    unmasked pass, but for the depthwise convolutions, which see a map per mask; every patch is
    predicted from each mask that hides it.

    Alpha-VL/FastConvMAE models_fastconvmae.py; that code is written for a ratio of 0.75 alone.
    """

    def draw_masks(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (K * B, L) bool: all complementary masks of each image."""
        length = self.count_patches(images)
        masks = complementary_masks(len(images), length, self.mask_ratio, images.device)
        return masks.flatten(0, 1)

    def count_visible(self, images: Tensor) -> int:
        return self.count_patches(images) // count_parts(self.mask_ratio)
