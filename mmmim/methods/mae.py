"""MAE: Masked Autoencoders Are Scalable Vision Learners (arXiv 2111.06377)."""

from typing import Any

from torch import Tensor

from mmmim.backbones.base import VisibleEncoder
from mmmim.masking import PatchMask
from mmmim.methods.pixel_reconstruction import PixelDecoder, PixelReconstruction, PixelTarget
from mmmim.registry import MODELS


@MODELS.register_module()
class MAE(PixelReconstruction):
    """Mask most patches, encode the rest, predict the masked pixels.

    Args:
        backbone: config of a `ViT` with a class token.
        decoder: embed_dims, depth and num_heads of the `PixelDecoder`; default 512/8/16.
        mask_ratio: share of masked patches.
        norm_pix: normalize the target per patch.
        data_preprocessor: config of mmengine's `ImgDataPreprocessor`.
        init_cfg: mmengine's.

    Raises:
        ValueError: the backbone has no class token.
    """

    backbone: VisibleEncoder

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
        has_cls_token = getattr(self.backbone, "cls_token", None) is not None
        if not isinstance(self.backbone, VisibleEncoder) or not has_cls_token:
            raise ValueError(
                "MAE needs a backbone with a class token: set its type='mmmim.ViT' and "
                f"with_cls_token=True; got {type(self.backbone).__name__} "
                f"{'with' if has_cls_token else 'without'} a class token"
            )
        self.decoder = PixelDecoder(
            self.backbone.embed_dims,
            self.backbone.grid_size,
            self.backbone.patch_size,
            **(decoder or {}),
        )
        self.target = PixelTarget(self.backbone.patch_size, norm_pix)
        self.mask_ratio = mask_ratio

    def encode(self, images: Tensor, mask: PatchMask) -> Tensor:
        """(B, 3, H, W) and B masks -> (B, 1 + V, D): the class token, then the visible patches."""
        return self.backbone.encode_visible(images, mask)
