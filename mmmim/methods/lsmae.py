"""LSMAE: Exploring Long-Sequence Masked Autoencoders (arXiv 2210.07224)."""

from typing import Any

from torch import Tensor

from mmmim.masking import PatchMask, block_mask
from mmmim.methods.mae import MAE
from mmmim.registry import MODELS


@MODELS.register_module()
class LSMAE(MAE):
    """MAE on a larger image with more patches, masked in squares of patches.

    The neighbors of a patch reveal more of it in a larger image, so masking single patches would make
    the task too easy.

    Args:
        backbone: config of a `ViT` with a class token; published with `img_size=448`.
        decoder: embed_dims, depth and num_heads; published with 384/8/12 for ViT-B and 512/8/16 for
            ViT-L (long_seq_mae models_mae.py:303, 378).
        mask_block: side of a masked square, in patches.
        kwargs: mask_ratio, norm_pix, data_preprocessor and init_cfg of `MAE`.

    Raises:
        ValueError: the backbone has no class token; the squares do not divide its patches.
    """

    def __init__(self, backbone: dict[str, Any], mask_block: int = 2, **kwargs: Any) -> None:
        super().__init__(backbone, **kwargs)
        self.mask_block = mask_block
        block_mask(1, self.backbone.grid_size, mask_block, self.mask_ratio, "cpu")  # validates both

    def draw_mask(self, images: Tensor) -> PatchMask:
        """(B, 3, H, W) -> masks (B, L)."""
        grid = self.grid_of(images)
        return block_mask(len(images), grid, self.mask_block, self.mask_ratio, images.device)
