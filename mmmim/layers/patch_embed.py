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


class StageEmbed(nn.Module):
    """Squares of p * p tokens to one, LayerNorm, GELU: how a stage of ConvMAE's encoder begins.

    Names and constants: vision_transformer.py:190-211 of the official code.

    Args:
        size: p, tokens (or pixels) along one side of a square.
        in_dim, out_dim: token widths.
    """

    def __init__(self, size: int, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_dim, out_dim, kernel_size=size, stride=size)
        self.norm = nn.LayerNorm(out_dim, eps=1e-5)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., H, W, C) -> (..., H / p, W / p, D); H and W are multiples of p."""
        # The stage's residual stream begins here. It stays in float32 under autocast, as do all norms:
        # its sums over the depth are what half precision rounds away, or in float16 overflows with.
        return F.gelu(self.norm(merge_tokens(tokens, self.proj).float()))


def merge_tokens(tokens: Tensor, conv: nn.Conv2d) -> Tensor:
    """(..., H, W, C) -> (..., H / p, W / p, D): `conv`, whose stride is its size, as a linear map.

    Such a convolution never leaves its square, so any choice of squares will do.
    """
    p = conv.kernel_size[0]
    squares = tokens.unflatten(-2, (-1, p)).unflatten(-4, (-1, p)).transpose(-4, -3)
    # The weight is (D, C, p, p); a square's tokens lie row by row, channels last.
    weight = conv.weight.permute(0, 2, 3, 1).flatten(1)
    return F.linear(squares.flatten(-3), weight, conv.bias)
