"""Folders of images without labels or annotation file."""

import hashlib
import multiprocessing
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from mmmim.data.cache import ImageCache
from mmmim.data.image_file import DecodedImage, ImageDecodeError, ImageFile
from mmmim.data.transforms import ImageFileCrop
from mmmim.registry import DATASETS, TRANSFORMS

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")


@DATASETS.register_module()
class UnlabelledImages(Dataset):
    """All images below a folder, at any depth.

    An unreadable file is named in a warning, and replaced by the next readable one; `broken_files()`
    lists them. Item i of epoch e is augmented with a generator seeded by (seed, e, i), so that an item
    does not depend on workers, processes or interruptions: see `EpochSampler`.

    Args:
        data_root: the folder; relative paths start at the working directory.
        data_prefix: a subfolder to read, such as "train/".
        pipeline: configs of transforms. The first takes an `ImageFile` if it is an `ImageFileCrop`,
            otherwise a PIL image; the last returns uint8 (3, H, W).
        seed: seed of the augmentation.
        extensions: file extensions of images, in lower case.
        cache_gb: if not 0, decode all images once at the start and keep them in memory; the limit of
            this memory per training process, in 10^9 bytes. 0 decodes at each use.

    Raises:
        FileNotFoundError: the folder does not exist, or holds no image.
        PermissionError: a folder cannot be listed.
        ValueError: the decoded images take more than `cache_gb`.
    """

    def __init__(
        self,
        data_root: str,
        data_prefix: str = "",
        pipeline: Sequence[dict] = (),
        seed: int = 0,
        extensions: Sequence[str] = EXTENSIONS,
        cache_gb: float = 0,
    ) -> None:
        self.folder = Path(data_root).expanduser() / data_prefix
        # One array instead of a million objects, whose reference counts would make every forked
        # worker copy the list.
        names = list_names(self.folder, tuple(extensions))
        print_log(f"found {len(names)} images below '{self.folder}'", logger="current")
        self._names = np.array([os.fsencode(name) for name in names])
        steps = [TRANSFORMS.build(step) for step in pipeline]
        self.transform = v2.Compose(steps)
        self._reads_files = isinstance(steps[0], ImageFileCrop) if steps else False
        self.seed = seed
        # One flag per file in shared memory: workers set it, the main process reads it.
        self._broken = multiprocessing.RawArray("b", len(self._names))
        files = [self.folder / name for name in names] if cache_gb else []
        self._cache = ImageCache(files, cache_gb) if cache_gb else None

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, draw: int) -> dict:
        """The image of `draw` = epoch * len + index -> dict(inputs=uint8 tensor (3, H, W)).

        Raises:
            RuntimeError: no file of the folder can be read.
            FileSystemError: the file system failed, see `ImageFile`.
        """
        index = draw % len(self)
        for step in range(len(self)):
            position = (index + step) % len(self)
            if self._broken[position]:
                continue
            try:
                inputs = self._augment(self._open(position), item_seed(self.seed, draw))
            except ImageDecodeError as error:
                self._broken[position] = 1
                warnings.warn(f"skipped an image: {error}", stacklevel=2)
                continue
            return dict(inputs=inputs)
        raise RuntimeError(
            f"none of the {len(self)} images below '{self.folder}' can be read: see the reasons in the "
            "warnings above, and replace the files or set another data_root"
        )

    def _open(self, position: int) -> ImageFile | DecodedImage:
        return self._cache[position] if self._cache else ImageFile(self.file(position))

    def _augment(self, photo: ImageFile | DecodedImage, seed: int) -> Tensor:
        image = photo if self._reads_files else photo.to_pil()
        state = torch.get_rng_state()  # of the CPU: a GPU's generator must not change
        torch.default_generator.manual_seed(seed)
        try:
            return self.transform(image)
        finally:
            torch.set_rng_state(state)

    def broken_files(self) -> list[Path]:
        """Files that any worker of this process has found unreadable so far."""
        return [self.file(i) for i, broken in enumerate(self._broken) if broken]

    def file(self, index: int) -> Path:
        """The image file at `index`."""
        return self.folder / os.fsdecode(self._names[index])


def list_images(folder: Path, extensions: tuple[str, ...] = EXTENSIONS) -> list[Path]:
    """Paths of the image files below `folder`; see `list_names`."""
    return [folder / name for name in list_names(folder, extensions)]


def list_names(folder: Path, extensions: tuple[str, ...] = EXTENSIONS) -> list[str]:
    """Image files below `folder`, relative to it, sorted folder by folder.

    Links are followed; hidden files and folders are skipped.

    Raises:
        FileNotFoundError: the folder does not exist, or holds no image.
        PermissionError: a folder cannot be listed.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"the image folder '{folder}' does not exist. Set IMAGES=/path/to/images "
            "(configs/tiny/*_photos.py), IMAGENET=/path/to/imagenet (full-size configs), or "
            "--cfg-options train_dataloader.dataset.data_root=/path/to/images"
        )
    names, others = [], Counter[str]()
    for parent, files in walk(folder):
        for name in files:
            extension = os.path.splitext(name)[1].lower()
            if not name.startswith(".") and extension in extensions:
                names.append(os.path.join(parent, name))
            elif not name.startswith("."):
                others[extension or "no extension"] += 1
    if not names:
        raise FileNotFoundError(
            f"no image found in '{folder}': expected files ending in {', '.join(extensions)}. Check "
            "data_root and data_prefix of the dataset, which select this folder"
        )
    if others:
        left_out = ", ".join(f"{count} {kind}" for kind, count in others.most_common(5))
        print_log(f"left out files below '{folder}' by their extension: {left_out}", logger="current")
    return sorted(names, key=lambda name: name.split(os.sep))


def walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """(relative path, files) of `folder`, whose path is "", and of all folders below it.

    Hidden folders are skipped, and links to a folder above, which would not end.
    """

    def fail(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(folder, followlinks=True, onerror=fail):
        real = os.path.realpath(parent)
        children = [os.path.join(parent, name) for name in folders if not name.startswith(".")]
        folders[:] = [
            os.path.basename(path)
            for path in children
            if not (os.path.islink(path) and f"{real}/".startswith(f"{os.path.realpath(path)}/"))
        ]
        relative = os.path.relpath(parent, folder)
        yield "" if relative == os.curdir else relative, files


def item_seed(seed: int, draw: int) -> int:
    """A 63-bit seed that differs for every (seed, draw) and is the same on every machine."""
    digest = hashlib.blake2b(f"{seed}/{draw}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
