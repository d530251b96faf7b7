"""LSMAE: exploring long-sequence masked autoencoders (arXiv 2210.07224)."""

from torch import Tensor

from mmmim.masking import block_mask, count_visible
from mmmim.methods.mae import MAE
from mmmim.registry import MODELS


@MODELS.register_module()
class LSMAE(MAE):
    """MAE on more and smaller parts of an image: a larger image, masked in squares of patches.

    In a larger image a patch's neighbours tell more of it, so that single patches would be too easy.

    Args:
        backbone: config of a `ViT` with a class token; `img_size=448` as published.
        decoder: embed_dims, depth and num_heads; for ViT-B 384/8/12, for ViT-L 512/8/16
            (long_seq_mae models_mae.py:303, 378).
        mask_block: side of a square, in patches.
        mask_ratio, norm_pix, data_preprocessor: as MAE's.

    Raises:
        ValueError: the backbone has no class token; squares that do not divide its patches.
    """

    def __init__(self, backbone: dict, mask_block: int = 2, **kwargs) -> None:
        super().__init__(backbone, **kwargs)
        self.mask_block = mask_block
        block_mask(1, self.backbone.grid, mask_block, self.mask_ratio, "cpu")  # or why it cannot be

    def draw_mask(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, L) bool, True = hidden."""
        p = self.backbone.patch_size
        grid = (images.shape[2] // p, images.shape[3] // p)
        return block_mask(len(images), grid, self.mask_block, self.mask_ratio, images.device)

    def count_visible(self, images: Tensor) -> int:
        square = self.mask_block**2
        return square * count_visible(self.count_patches(images) // square, self.mask_ratio)
