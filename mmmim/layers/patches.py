"""Images as patches, and back."""

from torch import Tensor


def split_patches(images: Tensor, patch_size: int) -> Tensor:
    """(B, C, H, W) -> (B, L, C, p, p), a view where it can be one; L runs row by row.

    Raises:
        ValueError: H or W is not a multiple of `patch_size`.
    """
    b, c, h, w = images.shape
    p = patch_size
    if h % p or w % p:
        raise ValueError(
            f"the image size must be a multiple of the patch size {p}, got {h}x{w}; "
            f"resize or crop to {max(h // p, 1) * p}x{max(w // p, 1) * p}, or change patch_size"
        )
    patches = images.reshape(b, c, h // p, p, w // p, p).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(b, (h // p) * (w // p), c, p, p)


def flatten_pixels(patches: Tensor) -> Tensor:
    """(..., C, p, p) -> (..., p * p * C), channels fastest: MAE's order (models_mae.py patchify)."""
    return patches.movedim(-3, -1).flatten(-3)


def join_patches(pixels: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, L, p * p * 3) in MAE's order -> (B, 3, H, W); `grid` is (rows, columns) of patches."""
    rows, columns = grid
    b, _, d = pixels.shape
    p = round((d // 3) ** 0.5)
    patches = pixels.reshape(b, rows, columns, p, p, 3).permute(0, 5, 1, 3, 2, 4)
    return patches.reshape(b, 3, rows * p, columns * p)
