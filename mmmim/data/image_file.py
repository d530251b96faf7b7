"""An image file, decoded no further than what is read of it needs."""

import functools
import time
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

ORIENTATION = 0x0112  # of EXIF; 1 is upright
RETRY_AFTER = (1, 5, 20)  # seconds, where the file system fails
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}

Box = tuple[int, int, int, int]  # left, top, width, height


class BrokenImage(ValueError):
    """A file that cannot be decoded; the message says why."""


class FileSystemError(OSError):
    """The file system did not answer, which says nothing about the file."""


def _broken_where_it_fails(method):
    @functools.wraps(method)
    def call(*args, **kwargs):
        try:
            return method(*args, **kwargs)
        except (MemoryError, FileSystemError):
            raise
        except Exception as error:  # a damaged file provokes any
            raise BrokenImage(str(error)) from error

    return call


class DecodedPhoto:
    """An image in memory.

    Args:
        pixels: uint8 (3, H, W).
    """

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels
        self.size = (pixels.shape[2], pixels.shape[1])

    def to_pil(self) -> Image.Image:
        return Image.fromarray(self.pixels.permute(1, 2, 0).numpy())

    def resized_crop(self, box: Box, size: tuple[int, int], interpolation: str) -> Tensor:
        """See `Photo.resized_crop`."""
        left, top, width, height = box
        part = self.pixels[None, :, top : top + height, left : left + width]
        return F.interpolate(part, size=size, mode=interpolation, antialias=True)[0]


class Photo:
    """An opened image file of any mode; what it gives is upright and 8-bit RGB.

    16-bit files keep their high byte, so that intensities stay comparable between files.

    Args:
        path: of the file.

    Attributes:
        size: (width, height), upright.

    Raises:
        BrokenImage: the file is no image, or has floating-point pixels, whose range it does not tell.
    """

    @_broken_where_it_fails
    def __init__(self, path: Path) -> None:
        self._bytes = _read(path)
        self._image = Image.open(BytesIO(self._bytes))
        # What libjpeg gives as it is wanted; the rest is PIL's.
        self._plain_jpeg = (
            self._image.format == "JPEG" and self._image.getexif().get(ORIENTATION, 1) == 1
        )
        if not self._plain_jpeg:
            self._image = _upright_rgb(self._image)
        self.size = self._image.size

    @_broken_where_it_fails
    def to_pil(self) -> Image.Image:
        """The whole image.

        Raises:
            BrokenImage: the file is truncated.
        """
        return self._image.convert("RGB")

    @_broken_where_it_fails
    def decode(self) -> DecodedPhoto:
        """The whole image.

        Raises:
            BrokenImage: the file is truncated.
        """
        if self._plain_jpeg:
            return DecodedPhoto(decode_jpeg(_bytes_to_tensor(self._bytes), mode=ImageReadMode.RGB))
        return DecodedPhoto(_pixels(self._image))

    @_broken_where_it_fails
    def resized_crop(self, box: Box, size: tuple[int, int], interpolation: str) -> Tensor:
        """Cut `box` out and resize it with antialiasing -> uint8 (3, *size).

        A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where the box then still has as many pixels
        as are asked for: libjpeg leaves out the higher frequencies of each 8x8 block.

        Args:
            box: left, top, width and height, in pixels of the whole image.
            size: height and width of the result.
            interpolation: "bicubic" or "bilinear".

        Raises:
            BrokenImage: the file is truncated.
        """
        left, top, width, height = box
        reduction = _reduction(min(height / size[0], width / size[1]))
        if reduction == 1 or not self._plain_jpeg:
            return self.decode().resized_crop(box, size, interpolation)
        self._image.draft("RGB", (self.size[0] // reduction, self.size[1] // reduction))
        edges = (left, top, left + width, top + height)
        box = tuple(edge / reduction for edge in edges)
        image = self._image.convert("RGB")
        return _pixels(image.resize(size[::-1], FILTERS[interpolation], box=box))


def read_rgb(path: Path) -> Image.Image:
    """Decode an image file of any mode to 8-bit RGB, upright.

    Raises:
        BrokenImage: the file is truncated or no image, or has floating-point pixels.
    """
    return Photo(path).to_pil()


def _read(path: Path) -> bytes:
    """The file. A network's disk may be away for a while: it is asked again before a file is blamed.

    Raises:
        FileSystemError: it does not answer.
        OSError: there is no such file in its folder, or it must not be read.
    """
    for pause in (*RETRY_AFTER, None):
        try:
            return path.read_bytes()
        except OSError as error:
            if isinstance(error, (FileNotFoundError, PermissionError)) and path.parent.is_dir():
                raise
            reason = error
        if pause is not None:
            time.sleep(pause)
    raise FileSystemError(
        f"cannot read '{path}', asked {1 + len(RETRY_AFTER)} times: {reason}. Is its disk or network "
        "still there? Then continue with --resume"
    )


def _reduction(factor: float) -> int:
    """The largest of libjpeg's fast reductions that is not above `factor`."""
    return next(reduction for reduction in (8, 4, 2, 1) if factor >= reduction or reduction == 1)


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError("pixels of more than 16 bits; convert the file to 8 or 16 bits")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point pixels; convert the file to 8 or 16 bits")
    return image.convert("RGB")


def _pixels(image: Image.Image) -> Tensor:
    """RGB -> uint8 (3, H, W)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _bytes_to_tensor(data: bytes) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of memory that is read-only: it is only read
        return torch.frombuffer(data, dtype=torch.uint8)
