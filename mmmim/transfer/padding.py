"""Padding an image for testing, without calling the border part of it."""

from mmcv.transforms import Pad

from mmmim.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PadBorder(Pad):
    """mmcv's Pad that keeps `img_shape`: boxes are clipped to the image, not to its border."""

    def transform(self, results: dict) -> dict:
        shape = results["img_shape"]
        results = super().transform(results)
        results["img_shape"] = shape
        return results
