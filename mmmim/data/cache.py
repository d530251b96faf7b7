"""Every image of a small folder, decoded once."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor

from mmmim.data.photo import BrokenImage, DecodedPhoto, Photo


class ImageCache:
    """Decoded images in one piece of shared memory, which a loader's workers do not copy.

    Each process that trains has its own: eight on a machine take eight times the memory.

    Args:
        files: of the images.
        limit_gb: memory that they may take, in 10^9 bytes.

    Raises:
        ValueError: they take more.
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
                    f"{len(files)} decoded images take {gb:.2f} GB, cache_gb allows {limit_gb:g}: "
                    "raise it if there is memory, or leave it out"
                )
            self._pixels = torch.empty(self._starts[-1], dtype=torch.uint8).share_memory_()
            self._errors = dict(pool.map(self._fill, range(len(files)), files))
        print_log(f"{len(files)} images decoded, {gb:.2f} GB of memory", logger="current")

    def __getitem__(self, index: int) -> DecodedPhoto:
        """Raises `BrokenImage` where the file could not be decoded."""
        if error := self._errors.get(index):
            raise BrokenImage(error)
        return DecodedPhoto(self._view(index))

    def _view(self, index: int) -> Tensor:
        width, height = self._sizes[index]
        pixels = self._pixels[self._starts[index] : self._starts[index + 1]]
        return pixels.view(height, width, 3).permute(2, 0, 1)

    def _fill(self, index: int, file: Path) -> tuple[int, str | None]:
        try:
            self._view(index).copy_(Photo(file).decode().pixels)
        except BrokenImage as error:
            return index, str(error)
        return index, None


def _size(file: Path) -> tuple[int, int]:
    try:
        return Photo(file).size
    except BrokenImage:
        return 0, 0
