"""MAE: Masked Autoencoders Are Scalable Vision Learners (arXiv 2111.06377)."""

from torch import Tensor

from mmmim.decoders import PixelDecoder
from mmmim.methods.pixel_method import PixelMethod
from mmmim.registry import MODELS
from mmmim.targets import PixelTarget


@MODELS.register_module()
class MAE(PixelMethod):
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
        if getattr(self.backbone, "cls_token", None) is None:
            raise ValueError(
                "MAE's backbone needs a class token: a ViT with with_cls_token=True, "
                f"got {type(self.backbone).__name__}"
            )
        grid, patch_size = self.backbone.grid, self.backbone.patch_size
        self.decoder = PixelDecoder(self.backbone.embed_dims, grid, patch_size, **(decoder or {}))
        self.target = PixelTarget(patch_size, norm_pix)
        self.mask_ratio = mask_ratio

    def encode(self, images: Tensor, mask: Tensor, visible: int) -> Tensor:
        """(B, 3, H, W) and mask (B, L) -> (B, 1 + V, D): the class token, then the visible patches."""
        return self.backbone.encode_visible(images, mask, visible)
