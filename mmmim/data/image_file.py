"""Image files, decoded only as far as a crop needs. Every error names the file."""

import functools
import os
import stat
import time
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

ORIENTATION = 0x0112  # EXIF tag; value 1 is upright
RETRY_AFTER = (1, 5, 20)  # seconds to wait after each failure of the file system
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
# The content decides the format, not the name. Pillow's other decoders start programs (EPS) or are
# rarely needed.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
# Larger images are refused before memory is claimed. Pillow's own limit (Image.MAX_IMAGE_PIXELS) warns
# at half as many, and refuses from here on.
MAX_PIXELS = 2 * (1024**3 // 4 // 3)
MAX_BYTES = 8 * MAX_PIXELS  # of a file: the largest image with 4 channels of 16 bits, uncompressed
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# Error of the file system -> what helps; other errors are of the file.
CURES: dict[type[Exception], str] = {
    FileNotFoundError: "Restore it, or correct the path",
    PermissionError: "Give this user read permission",
}

Method = TypeVar("Method", bound=Callable[..., Any])
Box = tuple[int, int, int, int]  # left, top, width, height


class ImageDecodeError(ValueError):
    """A file cannot be decoded; the message names the file, the reason and the cure."""


class FileSystemError(OSError):
    """The file system failed at every attempt; the file itself may be intact."""


def _raises_decode_error(method: Method) -> Method:
    """Decorate a method of `ImageFile` to raise any decoding error as `ImageDecodeError`."""

    @functools.wraps(method)
    def call(self: "ImageFile", *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except FileSystemError:
            raise
        except Exception as error:  # damaged files can raise errors of any type
            raise named_error(self.path, error) from error

    return call  # type: ignore[return-value]


def named_error(path: Path, error: Exception) -> Exception:
    """The error to raise for a file that a library could not decode."""
    if isinstance(error, MemoryError):
        return MemoryError(
            f"not enough memory to decode '{path}': start fewer dataloader workers, or shrink the image"
        )
    if isinstance(error, ImageDecodeError):
        reason = str(error)
    elif isinstance(error, Image.DecompressionBombError):
        reason = f"more than {MAX_PIXELS} pixels. Cut the image into tiles, or shrink it"
    elif isinstance(error, Image.UnidentifiedImageError):
        reason = f"damaged, or none of {', '.join(FORMATS)}. Convert, replace or remove it"
    else:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        cure = CURES.get(type(error), "Replace or remove it")
        reason = f"{' '.join(text.split()) or type(error).__name__}. {cure}"
    return ImageDecodeError(f"cannot read '{path}': {reason}")


class DecodedImage:
    """An image in memory.

    Args:
        pixels: uint8 (3, H, W), RGB.

    Attributes:
        size: (width, height).
    """

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels
        self.size = (pixels.shape[2], pixels.shape[1])

    def to_pil(self) -> Image.Image:
        """The image as PIL image, RGB."""
        return Image.fromarray(self.pixels.permute(1, 2, 0).numpy())

    def resized_crop(self, box: Box, size: tuple[int, int], interpolation: str) -> Tensor:
        """See `ImageFile.resized_crop`."""
        left, top, width, height = box
        part = self.pixels[None, :, top : top + height, left : left + width]
        return F.interpolate(part, size=size, mode=interpolation, antialias=True)[0]


class ImageFile:
    """An image file of any mode, read as upright 8-bit RGB.

    16-bit files keep their high byte, so that intensities stay comparable between files.

    Args:
        path: path of the file.

    Attributes:
        size: (width, height) of the upright image.

    Raises:
        ImageDecodeError: the file is missing, is no regular file, is no image of `FORMATS`, has more
            than `MAX_PIXELS`, or has pixels of more than 16 bits or floating-point pixels, whose range
            is unknown.
        FileSystemError: the file system failed at every attempt.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open()

    @_raises_decode_error
    def _open(self) -> None:
        self._bytes = read_bytes(self.path)
        self._image = open_image(self._bytes)
        # Upright JPEGs are decoded later, at a reduced size where possible; PIL decodes all others now.
        self._plain_jpeg = (
            self._image.format == "JPEG" and self._image.getexif().get(ORIENTATION, 1) == 1
        )
        if not self._plain_jpeg:
            self._image = _upright_rgb(self._image)
        self.size = self._image.size

    def to_pil(self) -> Image.Image:
        """The whole image as PIL image, RGB.

        Raises:
            ImageDecodeError: the file is truncated.
        """
        return self.decode().to_pil()

    @_raises_decode_error
    def decode(self) -> DecodedImage:
        """The whole image as uint8 tensor.

        Raises:
            ImageDecodeError: the file is truncated.
        """
        if self._plain_jpeg:
            return DecodedImage(decode_jpeg(_bytes_to_tensor(self._bytes), mode=ImageReadMode.RGB))
        return DecodedImage(_pixels(self._image))

    @_raises_decode_error
    def resized_crop(self, box: Box, size: tuple[int, int], interpolation: str) -> Tensor:
        """Crop `box` and resize it with antialiasing -> uint8 (3, *size).

        A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if the box then still has at least as many
        pixels as the result; libjpeg then skips the high frequencies of each 8x8 block.

        Args:
            box: left, top, width and height, in pixels of the whole image.
            size: (height, width) of the result in pixels.
            interpolation: "bicubic" or "bilinear".

        Raises:
            ImageDecodeError: the file is truncated.
        """
        left, top, width, height = box
        reduction = _reduction(min(height / size[0], width / size[1]))
        if reduction == 1 or not self._plain_jpeg:
            return self.decode().resized_crop(box, size, interpolation)
        self._image.draft("RGB", (self.size[0] // reduction, self.size[1] // reduction))
        edges = (left, top, left + width, top + height)
        reduced: Any = tuple(edge / reduction for edge in edges)
        image = self._image.convert("RGB")
        return _pixels(image.resize(size[::-1], FILTERS[interpolation], box=reduced))


def read_rgb(path: Path) -> Image.Image:
    """Decode an image file of any mode to 8-bit RGB, upright.

    Raises:
        ImageDecodeError: the file is truncated or no image, or has floating-point pixels.
    """
    return ImageFile(path).to_pil()


def read_bytes(path: Path) -> bytes:
    """The bytes of a file. Reads are retried, since network storage can fail transiently.

    Raises:
        FileSystemError: every attempt failed.
        FileNotFoundError, PermissionError: the file is missing or not readable, and its folder exists.
        ImageDecodeError: it is no regular file, is empty, or is larger than `MAX_BYTES`.
    """
    for pause in (*RETRY_AFTER, None):
        try:
            return _read_regular(path)
        except OSError as error:
            if isinstance(error, (FileNotFoundError, PermissionError)) and path.parent.is_dir():
                raise
            reason = error
        if pause is not None:
            time.sleep(pause)
    raise FileSystemError(
        f"cannot read '{path}' after {1 + len(RETRY_AFTER)} attempts: {reason}. Check its disk or "
        "network, then continue the run with --resume"
    )


def _read_regular(path: Path) -> bytes:
    """The bytes of a regular file; a pipe or device is refused, since reading it may never end."""
    _check_regular(path.stat())
    # The path may have become a pipe since: O_NONBLOCK opens one at once.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        _check_regular(os.fstat(file.fileno()))
        return file.read()


def _check_regular(status: os.stat_result) -> None:
    """
    Raises:
        ImageDecodeError: see `read_bytes`.
    """
    if not stat.S_ISREG(status.st_mode):
        kind = next(name for name, test in _KINDS.items() if test(status.st_mode))
        raise ImageDecodeError(f"expected a regular file, got a {kind}. Remove it")
    if status.st_size == 0:
        raise ImageDecodeError("the file is empty. Replace or remove it")
    if status.st_size > MAX_BYTES:
        raise ImageDecodeError(
            f"expected at most {MAX_BYTES} bytes, got {status.st_size}: cut the image into tiles, or "
            "shrink it"
        )


_KINDS = {
    "folder": stat.S_ISDIR,
    "named pipe": stat.S_ISFIFO,
    "socket": stat.S_ISSOCK,
    "device": lambda mode: True,
}


def open_image(data: bytes, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """Open an image without decoding its pixels.

    Raises:
        PIL.UnidentifiedImageError: the content has none of the `formats`.
        PIL.Image.DecompressionBombError: the image has more than `MAX_PIXELS`.
    """
    image = Image.open(BytesIO(data), formats=formats)
    if image.width * image.height > MAX_PIXELS:  # a program may have switched off Pillow's limit
        raise Image.DecompressionBombError
    return image


def _reduction(factor: float) -> int:
    """The largest of libjpeg's fast reductions that does not exceed `factor`; 1 if none fits."""
    return next(reduction for reduction in (8, 4, 2, 1) if factor >= reduction or reduction == 1)


def _upright_rgb(image: Image.Image) -> Image.Image:
    """Rotate as EXIF says, and convert any mode to 8-bit RGB."""
    image.load()
    is_wide = image.mode == "I" and image.format == "TIFF"  # 32 bits; PNG's 16 bits may be "I" too
    image = ImageOps.exif_transpose(image)
    if is_wide:
        raise ImageDecodeError(
            "expected pixels of 8 or 16 bits, got 32 bits, whose range is unknown: convert the file to "
            "8 or 16 bits"
        )
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ImageDecodeError(
                f"expected pixels of 8 or 16 bits, got values from {values.min()} to {values.max()}: "
                "convert the file to 8 or 16 bits"
            )
        image = Image.fromarray((values >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise ImageDecodeError(
            "expected pixels of 8 or 16 bits, got floating-point pixels: convert the file to 8 or "
            "16 bits"
        )
    return image.convert("RGB")


def _pixels(image: Image.Image) -> Tensor:
    """RGB image -> uint8 (3, H, W)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _bytes_to_tensor(data: bytes) -> Tensor:
    """Bytes -> uint8 (N,), without a copy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about read-only memory, which is not written to
        return torch.frombuffer(data, dtype=torch.uint8)
