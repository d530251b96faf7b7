"""PixMIM: Rethinking Pixel Reconstruction in Masked Image Modeling (arXiv 2303.02416).

Two changes to a method that predicts pixels: the target keeps low frequencies only (section 3.2),
and the crop keeps more of the foreground (section 3.3; `SimpleResizedCrop` in mmmim/data).
"""

from mmmim.methods.base import Method
from mmmim.registry import MODELS
from mmmim.targets import LowFrequencyTarget, LowPassFilter, PixelTarget

# mmselfsup configs/selfsup/pixmim: radius 40 at 224 pixels, ImageNet's statistics in 0..255.
RADIUS, IMAGE_SIZE = 40, 224


@MODELS.register_module()
def PixMIM(host: dict, radius: float | None = None) -> Method:
    """Build `host` and swap its target for the low-frequency one.

    PixMIM is its host in everything else, and so is what this returns: same class, same parameter
    names, same checkpoint.

    Args:
        host: config of a method with a `PixelTarget`, such as `MAE`.
        radius: of the low-pass filter, in frequency bins; None scales 40 at 224 pixels to the
            host's image size.

    Raises:
        ValueError: the host predicts no pixels; a radius that is not positive, or beyond half the image
            size, the highest frequency.
    """
    method = MODELS.build(host)
    if not isinstance(getattr(method, "target", None), PixelTarget):
        raise ValueError(
            f"PixMIM needs a host that predicts pixels (such as MAE), got {type(method).__name__}"
        )
    size = method.backbone.img_size
    radius = RADIUS * size / IMAGE_SIZE if radius is None else radius
    low_pass = LowPassFilter(size, radius, *_pixel_statistics(method))
    method.target = LowFrequencyTarget(low_pass, method.target)
    return method


def _pixel_statistics(method: Method) -> tuple[list[float], list[float]]:
    """The mean and deviation that the host's images were normalised with, in units of 0..1."""
    preprocessor = method.data_preprocessor
    if not hasattr(preprocessor, "mean"):  # built without one: ImageNet's, as mmselfsup hard-codes
        return [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    return (
        (preprocessor.mean.flatten() / 255).tolist(),
        (preprocessor.std.flatten() / 255).tolist(),
    )
