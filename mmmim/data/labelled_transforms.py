"""Transforms of labelled images and label maps for mmdet, mmseg and mmpretrain pipelines."""

from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform, LoadImageFromFile, Pad

from mmmim.data.image_file import FileSystemError, ImageFile
from mmmim.data.label_map import IGNORED, check_values, label_table, read_label_map
from mmmim.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadLabelledImage(LoadImageFromFile):
    """mmcv's LoadImageFromFile with the reader of pretraining, `ImageFile` -> BGR, uint8 (H, W, 3).

    16-bit, gray, palette, CMYK and turned images thus look the same in pretraining and fine-tuning.
    OpenCV clips the first, and silently fills the missing part of a truncated JPEG with gray.

    Args:
        to_float32: convert the pixels to float32, of the same values.

    Raises:
        OSError: the file is missing, truncated, or no image, or its size is not that of the
            annotations (`width` and `height` of the sample, where the data set gives them).
    """

    def __init__(self, to_float32: bool = False) -> None:
        super().__init__(to_float32=to_float32)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        path = results["img_path"]
        try:
            image = mmcv.rgb2bgr(ImageFile(Path(path)).decode().pixels.permute(1, 2, 0).numpy())
        except FileSystemError:
            raise
        except ValueError as error:
            raise OSError(
                f"{error}. Labeled images are never skipped: with the file, remove its annotation"
            ) from error
        shape = image.shape[:2]
        _check_size(path, shape, (results.get("height"), results.get("width")))
        results["img"] = image.astype(np.float32) if self.to_float32 else image
        results["img_shape"] = results["ori_shape"] = shape
        return results


def _check_size(path: str, shape: tuple[int, int], annotated: tuple[int | None, int | None]) -> None:
    """
    Raises:
        OSError: the annotations give another (height, width) than the file has.
    """
    if None in annotated or shape == annotated:
        return
    if shape == annotated[::-1]:
        cure = "The file is turned by its EXIF orientation, or the annotations swap both: annotate the "
        cure += "upright image, and correct width and height"
    else:
        cure = "The image was resized after annotation: put back the original, or annotate it again"
    raise OSError(
        f"'{path}' has {shape[1]} x {shape[0]} pixels, but its annotations say "
        f"{annotated[1]} x {annotated[0]}. {cure}"
    )


@TRANSFORMS.register_module()
class LoadLabelMap(BaseTransform):
    """mmseg's LoadAnnotations for semantic segmentation, which refuses maps that would train wrongly.

    The arrays equal those of mmseg, which casts 16-bit and RGB files to uint8 without a word. Whether
    0 is unlabelled is an option of the data set (`reduce_zero_label`). A sample without
    `seg_map_path`, as in inference, stays as it is.

    Args:
        num_classes: labels must be smaller; `train` and `test` set it to the head's. `None` skips the
            check.
        ignore_index: label of pixels without a class, allowed besides.

    Raises:
        OSError: the file is missing, truncated or no label map, its size is not the image's, or a
            label is no class.
    """

    def __init__(self, num_classes: int | None = None, ignore_index: int = IGNORED) -> None:
        self.num_classes, self.ignore_index = num_classes, ignore_index

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if results.get("seg_map_path") is None:
            return results
        path = results["seg_map_path"]
        labels = read_label_map(Path(path))
        if "ori_shape" in results and labels.shape != tuple(results["ori_shape"]):
            raise OSError(
                f"'{path}' has {labels.shape[1]} x {labels.shape[0]} pixels, but its image "
                f"'{results['img_path']}' has {results['ori_shape'][1]} x {results['ori_shape'][0]} "
                "(upright, as EXIF says): make both of one size"
            )
        labels = label_table(results["reduce_zero_label"], results.get("label_map"))[labels]
        if self.num_classes is not None:
            check_values(path, labels, self.num_classes, self.ignore_index)
        results["gt_seg_map"] = labels
        results["seg_fields"].append("gt_seg_map")
        return results


@TRANSFORMS.register_module()
class PadBorder(Pad):
    """mmcv's Pad that keeps `img_shape`, so that boxes are clipped to the image without its border."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        shape = results["img_shape"]
        results = super().transform(results)
        results["img_shape"] = shape
        return results
