"""Tensors as pictures: what a method is shown, what it makes of it and what it should, in a row."""

import os
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

GREY = 0.5  # of hidden patches
GAP = 4  # white pixels between pictures


@torch.no_grad()
def draw_reconstructions(model, images: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) -> uint8 (3, height, width): a row per image.

    Columns: original, masked input, reconstruction (visible patches are the input's own, `norm_pix` is
    undone with the true patch's mean and deviation), target. Of a method that mixes images: original,
    mixture, reconstruction, target, the partner's reconstruction from the same mixture, the partner.
    """
    normalised = model.data_preprocessor(dict(inputs=images))["inputs"]
    output = model(normalised, mode="predict")
    original = images.float().cpu() / 255
    shown = (
        denormalise(model, output["mixed"])
        if "mixed" in output
        else hide_patches(original, output["mask"].cpu())
    )
    made = ("reconstruction", "target", "partner_reconstruction", "partner")
    columns = [original, shown, *(denormalise(model, output[key]) for key in made if key in output)]
    return (tile(columns) * 255).round().to(torch.uint8)


def denormalise(model, images: Tensor) -> Tensor:
    """Undo the data preprocessor's normalisation: -> float (B, 3, H, W) in 0..1, on the CPU."""
    preprocessor = model.data_preprocessor
    return ((images * preprocessor.std + preprocessor.mean) / 255).clamp(0, 1).cpu()


def hide_patches(images: Tensor, mask: Tensor) -> Tensor:
    """(B, 3, H, W) and (B, L) -> the images with hidden patches grey."""
    height, width = images.shape[2:]
    side = round((height * width / mask.shape[1]) ** 0.5)
    hidden = mask.unflatten(1, (1, height // side, width // side)).float()
    hidden = torch.nn.functional.interpolate(hidden, size=(height, width))
    return images * (1 - hidden) + GREY * hidden


def tile(columns: list[Tensor]) -> Tensor:
    """Columns of (B, 3, H, W) -> (3, height, width) on white."""
    b, c, h, w = columns[0].shape
    canvas = torch.ones(c, b * (h + GAP) + GAP, len(columns) * (w + GAP) + GAP)
    for j, column in enumerate(columns):
        for i, image in enumerate(column):
            y, x = GAP + i * (h + GAP), GAP + j * (w + GAP)
            canvas[:, y : y + h, x : x + w] = image
    return canvas


def save_picture(picture: Tensor, path: Path) -> None:
    """Write uint8 (3, H, W) as PNG; a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.png")
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(partial)
    os.replace(partial, path)
