"""Tensors as pictures: panels of a method side by side, and the drawing that panels share."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from mmmim.atomic import write_atomically

GRAY = 0.5  # of masked patches
GAP = 4  # white pixels between pictures


@dataclass(frozen=True)
class Panel:
    """One column of the picture that shows a method at work.

    Attributes:
        caption: for people.
        images: (B, 3, H, W) float in 0..1, on the CPU.
    """

    caption: str
    images: Tensor


def draw_panels(panels: Sequence[Panel]) -> Tensor:
    """Panels side by side: uint8 (3, height, width), one row per image."""
    return (tile([panel.images for panel in panels]) * 255).round().to(torch.uint8)


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) -> float in 0..1 on the CPU."""
    return images.float().cpu() / 255


def mask_patches(images: Tensor, mask: Tensor) -> Tensor:
    """(B, 3, H, W) in 0..1 and mask (B, L) -> the images with gray masked patches."""
    masked = patches_to_pixels(mask.cpu().float(), images)
    return images * (1 - masked) + GRAY * masked


def heat_map(values: Tensor, images: Tensor) -> Tensor:
    """One value in 0..1 per patch (B, L), as a color over pale images (B, 3, H, W) in 0..1."""
    colors = colormaps["inferno"](patches_to_pixels(values.cpu().clamp(0, 1), images)[:, 0].numpy())
    colors = torch.from_numpy(colors[..., :3]).float().permute(0, 3, 1, 2)
    return 0.7 * colors + 0.3 * images.mean(dim=1, keepdim=True)


def patches_to_pixels(values: Tensor, images: Tensor) -> Tensor:
    """One value per patch (B, L) -> (B, 1, H, W), for images (B, 3, H, W)."""
    height, width = images.shape[2:]
    side = round((height * width / values.shape[1]) ** 0.5)
    grid = values.unflatten(1, (1, height // side, width // side))
    return torch.nn.functional.interpolate(grid, size=(height, width))


def tile(columns: Sequence[Tensor]) -> Tensor:
    """Columns of (B, 3, H, W) in 0..1 -> (3, height, width) on white."""
    b, c, h, w = columns[0].shape
    canvas = torch.ones(c, b * (h + GAP) + GAP, len(columns) * (w + GAP) + GAP)
    for j, column in enumerate(columns):
        for i, image in enumerate(column):
            y, x = GAP + i * (h + GAP), GAP + j * (w + GAP)
            canvas[:, y : y + h, x : x + w] = image
    return canvas


def save_picture(picture: Tensor, path: Path) -> None:
    """Write uint8 (3, H, W) atomically as PNG."""
    image = Image.fromarray(picture.permute(1, 2, 0).numpy())
    with write_atomically(path) as file:
        image.save(file, format="PNG")


def figure_png(figure: Figure) -> bytes:
    """A matplotlib figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
