"""A cache of decoded images, for data sets that fit into memory."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor

from mmmim.data.image_file import DecodedImage, ImageDecodeError, ImageFile


class ImageCache:
    """Decoded images in one block of shared memory, which dataloader workers do not copy.

    Each training process has its own cache: eight processes on a machine take eight times the memory.

    Args:
        files: paths of the images.
        limit_gb: upper limit of the memory, in 10^9 bytes.

    Raises:
        ValueError: the decoded images take more than `limit_gb`.
        FileSystemError: the file system failed, see `ImageFile`.
    """

    def __init__(self, files: Sequence[Path], limit_gb: float) -> None:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            self._sizes = list(pool.map(_size, files))
            self._starts = [0]
            for width, height in self._sizes:
                self._starts.append(self._starts[-1] + 3 * width * height)
            gb = self._starts[-1] / 1e9
            if gb > limit_gb:
                raise ValueError(
                    f"{len(files)} decoded images take {gb:.2f} GB, but cache_gb allows {limit_gb:g}: "
                    "raise cache_gb if there is enough memory, or set cache_gb=0 to decode at each use"
                )
            self._pixels = torch.empty(self._starts[-1], dtype=torch.uint8).share_memory_()
            self._errors = dict(pool.map(self._fill, range(len(files)), files))
        print_log(f"decoded {len(files)} images into {gb:.2f} GB of memory", logger="current")

    def __getitem__(self, index: int) -> DecodedImage:
        """The image at `index`.

        Raises:
            ImageDecodeError: the file could not be decoded when the cache was filled.
        """
        if error := self._errors.get(index):
            raise ImageDecodeError(error)
        return DecodedImage(self._view(index))

    def _view(self, index: int) -> Tensor:
        """The memory of one image as (3, H, W)."""
        width, height = self._sizes[index]
        pixels = self._pixels[self._starts[index] : self._starts[index + 1]]
        return pixels.view(height, width, 3).permute(2, 0, 1)

    def _fill(self, index: int, file: Path) -> tuple[int, str | None]:
        """Decode one file into the cache -> (index, error message or None)."""
        try:
            self._view(index).copy_(ImageFile(file).decode().pixels)
        except ImageDecodeError as error:
            return index, str(error)
        return index, None


def _size(file: Path) -> tuple[int, int]:
    """(width, height) of a file; (0, 0) if it cannot be decoded."""
    try:
        return ImageFile(file).size
    except ImageDecodeError:
        return 0, 0
