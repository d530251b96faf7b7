"""Transforms of pretraining: crops that decode what they need, and torchvision's under their own names.

A pipeline ends in uint8 (3, H, W). It begins with a `PhotoCrop`, or with a transform of PIL images.
"""

import functools

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from mmmim.data.photo import DecodedPhoto, Photo
from mmmim.registry import TRANSFORMS


def _register_torchvision(name: str) -> None:
    transform = getattr(v2, name)

    @functools.wraps(transform, updated=())
    def build(*args, interpolation: str | None = None, **kwargs):
        if interpolation is not None:  # configs are text: "bicubic"
            kwargs["interpolation"] = InterpolationMode(interpolation)
        return transform(*args, **kwargs)

    TRANSFORMS.register_module(name=f"torchvision/{name}", module=build)


for _name in (
    "CenterCrop",
    "ColorJitter",
    "PILToTensor",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomVerticalFlip",
    "Resize",
):
    _register_torchvision(_name)


class PhotoCrop:
    """Reads a `Photo`, so that no more is decoded than it needs; -> uint8 (3, H, W)."""

    def __call__(self, photo: Photo | DecodedPhoto) -> Tensor:
        raise NotImplementedError


@TRANSFORMS.register_module()
class RandomResizedCrop(PhotoCrop):
    """torchvision's RandomResizedCrop, its draws too, in one step with decoding.

    Args:
        size: side of the result in pixels.
        scale, ratio: ranges of the box's share of the image, and of its width by its height.
        interpolation: "bicubic", MAE's, or "bilinear".
    """

    def __init__(
        self,
        size: int,
        scale: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = "bicubic",
    ) -> None:
        self.size, self.interpolation = (size, size), interpolation
        self.draw = v2.RandomResizedCrop(size, scale=scale, ratio=ratio).make_params

    def __call__(self, photo: Photo | DecodedPhoto) -> Tensor:
        width, height = photo.size
        box = self.draw([torch.empty((1, height, width), device="meta")])  # of it the shape is read
        box = (box["left"], box["top"], box["width"], box["height"])
        return photo.resized_crop(box, self.size, self.interpolation)


@TRANSFORMS.register_module()
class SimpleResizedCrop(PhotoCrop):
    """PixMIM's conservative crop (arXiv 2303.02416, section 3.3): most of the object stays in.

    The short side is resized to `size`, then a `size` square is cropped from the image padded by 4
    reflected pixels (mmselfsup configs/selfsup/pixmim). The resize is bilinear, torchvision's default
    and what the official code uses, unlike MAE's bicubic.

    Args:
        size: side of the crop in pixels.
        padding: pixels reflected at every edge.
    """

    def __init__(self, size: int, padding: int = 4) -> None:
        self.size, self.padding = size, padding

    def __call__(self, photo: Photo | DecodedPhoto) -> Tensor:
        short = min(photo.size)
        width, height = (self.size * side // short for side in photo.size)
        whole = photo.resized_crop((0, 0, *photo.size), (height, width), "bilinear")
        rows, columns = self._draw(height), self._draw(width)
        pixels = whole.permute(1, 2, 0).index_select(0, rows).index_select(1, columns)
        return pixels.permute(2, 0, 1)

    def _draw(self, length: int) -> Tensor:
        """Indices of a random stretch of the padded side, reflected where they lie in the padding."""
        start = int(torch.randint(length + 2 * self.padding - self.size + 1, (1,)))
        indices = (torch.arange(self.size) + start - self.padding).abs()
        return torch.where(indices < length, indices, 2 * (length - 1) - indices)
