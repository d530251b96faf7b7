"""Label maps of semantic segmentation: image files whose pixel values are classes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from mmmim.data.image_file import (
    ORIENTATION,
    FileSystemError,
    ImageDecodeError,
    named_error,
    open_image,
    read_bytes,
)

IGNORED = 255  # mmseg's label of pixels without a class
LOSSLESS = ("PNG", "TIFF", "BMP", "GIF")  # of `image_file.FORMATS`, those that keep indices exactly
CURE = "Save label maps as PNG of one 8-bit channel, whose values are the indices of the classes"


def read_label_map(path: Path) -> np.ndarray:
    """The indices of a label map -> uint8 (H, W).

    Raises:
        OSError: the file is missing, truncated or no image, or its pixels are no 8-bit indices.
        FileSystemError: see `ImageFile`.
    """
    try:
        image = open_image(read_bytes(path), LOSSLESS)
        _check_indices(image)
        return np.array(image).astype(np.uint8, copy=False)
    except FileSystemError:
        raise
    except Image.UnidentifiedImageError as error:
        raise OSError(f"cannot read '{path}': damaged, or none of {LOSSLESS}. {CURE}") from error
    except Exception as error:  # damaged files can raise errors of any type
        raise OSError(str(named_error(path, error))) from error


def _check_indices(image: Image.Image) -> None:
    """
    Raises:
        ImageDecodeError: the values in memory would not be the indices of the file.
    """
    if image.mode not in ("1", "L", "P"):
        raise ImageDecodeError(f"expected one 8-bit channel of indices, got mode {image.mode}. {CURE}")
    tile = getattr(image, "tile", None)
    arguments = tile[0].args if tile else ()
    raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    if isinstance(raw, str) and raw.startswith(("L;", "1;")):  # Pillow stretches or inverts them
        raise ImageDecodeError(
            f"expected 8 bits per pixel, got gray of fewer bits or inverted ({raw}). {CURE}"
        )
    if image.getexif().get(ORIENTATION, 1) != 1:
        raise ImageDecodeError(
            "a label map must not have an EXIF orientation: save it upright, without EXIF"
        )


def label_table(reduce_zero_label: bool, label_map: Mapping[int, int] | None = None) -> np.ndarray:
    """(256,) uint8: the label of each value of a file, as in mmseg's LoadAnnotations.

    Args:
        reduce_zero_label: 0 is unlabelled, and all classes move down by one.
        label_map: new labels of some of the labels.
    """
    table = np.arange(256, dtype=np.uint8)
    if reduce_zero_label:
        table[1:IGNORED] = np.arange(IGNORED - 1)
        table[0] = IGNORED
    old = table.copy()
    for label, new in (label_map or {}).items():
        table[old == label] = new
    return table


def check_values(path: str | Path, labels: np.ndarray, num_classes: int, ignore_index: int) -> None:
    """
    Raises:
        OSError: a label is neither a class nor ignored.
    """
    wrong = (labels >= num_classes) & (labels != ignore_index)
    if wrong.any():
        values, counts = np.unique(labels[wrong], return_counts=True)
        shown = ", ".join(f"{v} ({n} pixels)" for v, n in zip(values[:5], counts[:5], strict=True))
        raise OSError(
            f"'{path}' has labels that are no class: {shown}. Expected 0 to {num_classes - 1}, or "
            f"{ignore_index} for ignored pixels (values of the file, less 1 with reduce_zero_label): "
            "correct the label map, or set classes and num_classes to fit it"
        )
