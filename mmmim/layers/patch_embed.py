"""Patches to tokens."""

import torch.nn.functional as F
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """One linear map per patch, held as a convolution so that timm's weights fit (`proj`).

    Args:
        patch_size: side of a patch in pixels.
        dim: token width.
    """

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(3, dim, kernel_size=patch_size, stride=patch_size)
        # Drawn as a Linear's would be: facebookresearch/mae models_mae.py:75-77.
        nn.init.xavier_uniform_(self.proj.weight.data.flatten(1))
        nn.init.zeros_(self.proj.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, H / p, W / p, D)."""
        return self.proj(images).permute(0, 2, 3, 1)

    def embed(self, patches: Tensor) -> Tensor:
        """(B, K, 3, p, p), any choice of patches -> (B, K, D)."""
        return F.linear(patches.flatten(2), self.proj.weight.flatten(1), self.proj.bias)
