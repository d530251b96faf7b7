"""Transforms of pretraining: torchvision's, under their own names, and PixMIM's crop.

Each takes and returns a PIL image; `PILToTensor` ends a pipeline with uint8 (3, H, W).
"""

import functools

from torchvision.transforms import InterpolationMode, v2

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


@TRANSFORMS.register_module()
class SimpleResizedCrop(v2.Compose):
    """PixMIM's conservative crop (arXiv 2303.02416, section 3.3): most of the object stays in.

    The short side is resized to `size`, then a `size` square is cropped from the image padded by 4
    reflected pixels (mmselfsup configs/selfsup/pixmim). The resize is bilinear, torchvision's default
    and what the official code uses, unlike MAE's bicubic.

    Args:
        size: side of the crop in pixels.
        padding: pixels reflected at every edge.
    """

    def __init__(self, size: int, padding: int = 4) -> None:
        super().__init__(
            [v2.Resize(size), v2.RandomCrop(size, padding=padding, padding_mode="reflect")]
        )
