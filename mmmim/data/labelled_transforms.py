"""Transforms of labelled images for mmdet, mmseg and mmpretrain pipelines."""

from typing import Any

from mmcv.transforms import LoadImageFromFile, Pad

from mmmim.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadLabelledImage(LoadImageFromFile):
    """mmcv's LoadImageFromFile that raises an error with the file's name for a truncated file.

    OpenCV silently fills the missing part of a truncated JPEG with gray; Pillow raises.

    Raises:
        OSError: the file is missing, truncated, or no image.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(imdecode_backend="pillow", **kwargs)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        try:
            return super().transform(results)
        except (OSError, SyntaxError, ValueError) as error:
            raise OSError(
                f"cannot read the labeled image '{results['img_path']}': {error}. Labeled images are "
                "never skipped: replace the file, or remove it together with its annotation"
            ) from error


@TRANSFORMS.register_module()
class PadBorder(Pad):
    """mmcv's Pad that keeps `img_shape`, so that boxes are clipped to the image without its border."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        shape = results["img_shape"]
        results = super().transform(results)
        results["img_shape"] = shape
        return results
