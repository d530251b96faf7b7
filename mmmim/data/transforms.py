"""Pretraining transforms: crops that decode only what they need, and torchvision's transforms.

torchvision's are registered as `torchvision/NAME`. A pipeline starts with an `ImageFileCrop` or a
transform of PIL images, and ends with uint8 (3, H, W).
"""

import functools
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from mmmim.data.image_file import DecodedImage, ImageFile
from mmmim.registry import TRANSFORMS


def _register_torchvision(name: str) -> None:
    """Register `torchvision.transforms.v2.NAME` as "torchvision/NAME"."""
    transform = getattr(v2, name)

    @functools.wraps(transform, updated=())
    def build(*args: Any, interpolation: str | None = None, **kwargs: Any) -> Any:
        if interpolation is not None:  # configs give it as text, such as "bicubic"
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


class ImageFileCrop:
    """Base class of crops that decode an `ImageFile` only as far as they need -> uint8 (3, H, W)."""

    def __call__(self, photo: ImageFile | DecodedImage) -> Tensor:
        raise NotImplementedError


@TRANSFORMS.register_module()
class RandomResizedCrop(ImageFileCrop):
    """torchvision's RandomResizedCrop, with the same random draws, in one step with decoding.

    The default `scale` and `interpolation` are MAE's (facebookresearch/mae main_pretrain.py), the
    default `ratio` is torchvision's.

    Args:
        size: side of the result in pixels.
        scale: range of the box's share of the image area.
        ratio: range of the box's width divided by its height.
        interpolation: "bicubic" or "bilinear".
    """

    def __init__(
        self,
        size: int,
        scale: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = "bicubic",
    ) -> None:
        self.size, self.interpolation = (_side(size), size), interpolation
        self.draw = v2.RandomResizedCrop(size, scale=scale, ratio=ratio).make_params

    def __call__(self, photo: ImageFile | DecodedImage) -> Tensor:
        width, height = photo.size
        box = self.draw([torch.empty((1, height, width), device="meta")])  # only its shape is read
        box = (box["left"], box["top"], box["width"], box["height"])
        return photo.resized_crop(box, self.size, self.interpolation)


@TRANSFORMS.register_module()
class SimpleResizedCrop(ImageFileCrop):
    """PixMIM's conservative crop (arXiv 2303.02416, section 3.3), which keeps most of the object.

    The short side is resized to `size`, then a `size` x `size` square is cropped from the image padded
    by 4 reflected pixels (mmselfsup configs/selfsup/pixmim). The resize is bilinear, torchvision's
    default, as in the official code; MAE's is bicubic.

    Args:
        size: side of the crop in pixels.
        padding: reflected pixels on every side.
    """

    def __init__(self, size: int, padding: int = 4) -> None:
        self.size, self.padding = _side(size), padding

    def __call__(self, photo: ImageFile | DecodedImage) -> Tensor:
        short = min(photo.size)
        width, height = (self.size * side // short for side in photo.size)
        whole = photo.resized_crop((0, 0, *photo.size), (height, width), "bilinear")
        rows, columns = self._draw(height), self._draw(width)
        pixels = whole.permute(1, 2, 0).index_select(0, rows).index_select(1, columns)
        return pixels.permute(2, 0, 1)

    def _draw(self, length: int) -> Tensor:
        """(size,) indices of a random window of the padded side; reflected where it is padding."""
        start = int(torch.randint(length + 2 * self.padding - self.size + 1, (1,)))
        indices = (torch.arange(self.size) + start - self.padding).abs()
        return torch.where(indices < length, indices, 2 * (length - 1) - indices)


def _side(size: int) -> int:
    """
    Raises:
        ValueError: `size` is no side of a square.
    """
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"size must be the side of a square in pixels, got {size}")
    return size
