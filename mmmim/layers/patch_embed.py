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

    Names and constants: vision_transformer.py:174-196 of the official code.

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
        tokens = merge_tokens(tokens, self.proj)
        return F.gelu(self.norm(tokens.to(self.norm.weight.dtype)))


def merge_tokens(tokens: Tensor, conv: nn.Conv2d) -> Tensor:
    """(..., H, W, C) -> (..., H / p, W / p, D): `conv`, whose stride is its size, as a linear map.

    Such a convolution never leaves its square, so any choice of squares will do.
    """
    p = conv.kernel_size[0]
    squares = tokens.unflatten(-2, (-1, p)).unflatten(-4, (-1, p)).transpose(-4, -3)
    # The weight is (D, C, p, p); a square's tokens lie row by row, channels last.
    weight = conv.weight.permute(0, 2, 3, 1).flatten(1)
    return F.linear(squares.flatten(-3), weight, conv.bias)


class NormedPatchEmbed(PatchEmbed):
    """Patches to tokens, then LayerNorm: Swin's and MixMIM's (timm's PatchEmbed with a norm)."""

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__(patch_size, dim)
        self.proj.reset_parameters()  # MixMIM keeps torch's, models_mixmim.py:281-303
        self.norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, H / p, W / p, D), in float32 also under autocast, as `StageEmbed`."""
        return self.norm(super().forward(images).to(self.norm.weight.dtype))


class MergePatches(nn.Module):
    """Squares of 2 x 2 tokens to one of twice the width: Swin's patch merging, in timm's order.

    Args:
        dim: width of the incoming tokens.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim, eps=1e-5)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, ceil(H / 2), ceil(W / 2), 2 C), zeros where a side is odd.

        A square's tokens lie column by column (timm models/swin_transformer.py, PatchMerging). The
        result begins a residual stream, see `StageEmbed`.
        """
        tokens = F.pad(tokens, (0, 0, 0, tokens.shape[2] % 2, 0, tokens.shape[1] % 2))
        squares = tokens.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, H/2, 2, W/2, 2, C)
        merged = self.reduction(self.norm(squares.permute(0, 1, 3, 4, 2, 5).flatten(3)))
        return merged.to(self.norm.weight.dtype)
