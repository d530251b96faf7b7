"""Tensors as pictures: what a method is shown, what it makes of it and what it should, in a row."""

import os
from pathlib import Path

import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

GREY = 0.5  # of hidden patches
GAP = 4  # white pixels between pictures


@torch.no_grad()
def draw_predictions(model, images: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) -> uint8 (3, height, width): a row per image.

    Columns: original, masked input, reconstruction (visible patches are the input's own, `norm_pix` is
    undone with the true patch's mean and deviation), target. Of a method that mixes images: original,
    mixture, reconstruction, target, the partner's reconstruction from the same mixture, the partner.
    Of one that aligns with a teacher: original, what the teacher attends to (from dark, none, to
    bright, its highest), the patches kept, similarity to the teacher (from dark, 0, to bright, 1).
    """
    normalised = model.data_preprocessor(dict(inputs=images))["inputs"]
    output = model(normalised, mode="predict")
    columns = [images.float().cpu() / 255]
    if "importance" in output:
        weights = output["importance"]
        columns.append(heat_map(weights / weights.amax(dim=1, keepdim=True), columns[0]))
    if "mixed" in output:
        columns.append(denormalise(model, output["mixed"]))
    else:
        columns.append(hide_patches(columns[0], output["mask"].cpu()))
    made = ("reconstruction", "target", "partner_reconstruction", "partner")
    columns += [denormalise(model, output[key]) for key in made if key in output]
    if "similarity" in output:
        columns.append(heat_map(output["similarity"], columns[0]))
    return (tile(columns) * 255).round().to(torch.uint8)


def denormalise(model, images: Tensor) -> Tensor:
    """Undo the data preprocessor's normalisation: -> float (B, 3, H, W) in 0..1, on the CPU."""
    preprocessor = model.data_preprocessor
    return ((images * preprocessor.std + preprocessor.mean) / 255).clamp(0, 1).cpu()


def hide_patches(images: Tensor, mask: Tensor) -> Tensor:
    """(B, 3, H, W) and (B, L) -> the images with hidden patches grey."""
    hidden = over_pixels(mask.float(), images)
    return images * (1 - hidden) + GREY * hidden


def heat_map(values: Tensor, images: Tensor) -> Tensor:
    """(B, L) in 0..1, one a patch, and (B, 3, H, W) -> the patches' colours over the pale images."""
    colours = colormaps["inferno"](over_pixels(values.cpu().clamp(0, 1), images)[:, 0].numpy())
    colours = torch.from_numpy(colours[..., :3]).float().permute(0, 3, 1, 2)
    return 0.7 * colours + 0.3 * images.mean(dim=1, keepdim=True)


def over_pixels(values: Tensor, images: Tensor) -> Tensor:
    """(B, L), one a patch, -> (B, 1, H, W) of images (B, 3, H, W)."""
    height, width = images.shape[2:]
    side = round((height * width / values.shape[1]) ** 0.5)
    grid = values.unflatten(1, (1, height // side, width // side))
    return torch.nn.functional.interpolate(grid, size=(height, width))


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
