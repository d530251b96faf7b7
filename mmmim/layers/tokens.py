"""Images to tokens and back: patches, patch embedding, absolute positions, gathering."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """(B, C, H, W) -> (B, L, C, p, p) in row-major patch order; a view where possible.

    Raises:
        ValueError: H or W is not a multiple of `patch_size`.
    """
    b, c, h, w = images.shape
    p = patch_size
    if h % p or w % p:
        raise ValueError(
            f"the image size must be a multiple of the patch size {p}, got {h}x{w}: "
            f"resize or crop to {max(h // p, 1) * p}x{max(w // p, 1) * p}, or change patch_size"
        )
    patches = images.reshape(b, c, h // p, p, w // p, p).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(b, (h // p) * (w // p), c, p, p)


def flatten_pixels(patches: Tensor) -> Tensor:
    """(..., C, p, p) -> (..., p * p * C), channels last: MAE's order (models_mae.py, patchify)."""
    return patches.movedim(-3, -1).flatten(-3)


def unpatchify(pixels: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, L, p * p * 3) in MAE's order -> (B, 3, H, W); `grid` is (rows, columns) of patches."""
    rows, columns = grid
    b, _, d = pixels.shape
    p = round((d // 3) ** 0.5)
    patches = pixels.reshape(b, rows, columns, p, p, 3).permute(0, 5, 1, 3, 2, 4)
    return patches.reshape(b, 3, rows * p, columns * p)


def gather_patches(patches: Tensor, idx: Tensor) -> Tensor:
    """(B, L, ...) of B images and (K * B, V) positions -> (K * B, V, ...).

    Row i of the positions belongs to image i % B: masks of one batch stand one after another.
    """
    image = torch.arange(len(idx), device=idx.device) % len(patches)
    return patches[image.unsqueeze(1), idx]


def gather_tokens(tokens: Tensor, idx: Tensor) -> Tensor:
    """(B, L, ...) and (B, K) positions -> (B, K, ...)."""
    index = idx.reshape(*idx.shape, *[1] * (tokens.dim() - 2))
    return tokens.gather(1, index.expand(*idx.shape, *tokens.shape[2:]))


class PatchEmbed(nn.Module):
    """One linear map per patch, stored as a convolution so that timm's weights fit (`proj`).

    Args:
        patch_size: side of a patch in pixels.
        dim: token width.
    """

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(3, dim, kernel_size=patch_size, stride=patch_size)
        # Initialized like a Linear: facebookresearch/mae models_mae.py:75-77.
        nn.init.xavier_uniform_(self.proj.weight.data.flatten(1))
        assert self.proj.bias is not None
        nn.init.zeros_(self.proj.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, H / p, W / p, D)."""
        return self.proj(images).permute(0, 2, 3, 1)

    def embed(self, patches: Tensor) -> Tensor:
        """Any selection of patches (B, K, 3, p, p) -> (B, K, D)."""
        return F.linear(patches.flatten(2), self.proj.weight.flatten(1), self.proj.bias)


def sincos_2d(dim: int, grid: tuple[int, int]) -> Tensor:
    """Fixed sine-cosine positions: (rows * columns, dim) float32.

    The first half of `dim` encodes the column, the second the row. Temperature 10000 and the order
    "width first": facebookresearch/mae util/pos_embed.py:20-67.

    Raises:
        ValueError: `dim` is not a multiple of 4.
    """
    if dim % 4:
        raise ValueError(f"sine-cosine positions need a width divisible by 4, got {dim}")
    rows, columns = grid
    omega = 10000.0 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    y, x = torch.meshgrid(
        torch.arange(rows, dtype=torch.float64),
        torch.arange(columns, dtype=torch.float64),
        indexing="ij",
    )
    angle_x, angle_y = x.reshape(-1, 1) * omega, y.reshape(-1, 1) * omega
    return torch.cat([angle_x.sin(), angle_x.cos(), angle_y.sin(), angle_y.cos()], dim=1).float()


def resample_abs_pos_embed(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """(1, rows * columns, D) for the grid `old` -> the same for the grid `new`, bicubic.

    Same as detectron2's get_abs_pos (modeling/backbone/utils.py:129-157) and MAE's
    interpolate_pos_embed.
    """
    if old == new:
        return table
    image = table.reshape(1, *old, -1).permute(0, 3, 1, 2)
    image = F.interpolate(image.float(), size=new, mode="bicubic", align_corners=False)
    return image.permute(0, 2, 3, 1).reshape(1, new[0] * new[1], -1).to(table.dtype)
