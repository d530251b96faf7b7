"""PixMIM: Rethinking Pixel Reconstruction in Masked Image Modeling (arXiv 2303.02416).

PixMIM makes two changes to a method that predicts pixels: the target keeps low frequencies only
(section 3.2), and the crop keeps more of the foreground (section 3.3; `SimpleResizedCrop` in
mmmim/data).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmmim.deprecation import renamed_arguments
from mmmim.masking import PatchMask
from mmmim.methods.base import Method
from mmmim.methods.pixel_reconstruction import PixelTarget
from mmmim.registry import MODELS

# mmselfsup configs/selfsup/pixmim: radius 40 at 224 pixels.
RADIUS, IMAGE_SIZE = 40, 224


@MODELS.register_module()
@renamed_arguments(host="method")
def PixMIM(method: dict[str, Any], radius: float | None = None) -> Method:
    """Build `method` and replace its target by the low-frequency target.

    The result is that method: same class, same parameter names, same checkpoint.

    Args:
        method: config of a method with a `PixelTarget`, such as `MAE`.
        radius: of the low-pass filter in frequency bins; None scales 40 at 224 pixels to the image
            size of the method.

    Raises:
        ValueError: the method predicts no pixels; `radius` is not positive, or larger than half the
            image size, the highest frequency.
    """
    built = MODELS.build(method)
    if not isinstance(getattr(built, "target", None), PixelTarget):
        raise ValueError(
            f"PixMIM needs a method that predicts pixels, such as MAE, got {type(built).__name__}"
        )
    size = built.backbone.img_size
    radius = RADIUS * size / IMAGE_SIZE if radius is None else radius
    mean, std = built.image_statistics()
    low_pass = LowPassFilter(size, radius, [v / 255 for v in mean], [v / 255 for v in std])
    built.target = LowFrequencyTarget(low_pass, built.target)
    return built


class LowFrequencyTarget(nn.Module):
    """A pixel target cut from low-pass filtered images.

    Args:
        low_pass: images (B, 3, H, W) -> filtered images.
        pixels: the target of the method without PixMIM.
    """

    def __init__(self, low_pass: "LowPassFilter", pixels: PixelTarget) -> None:
        super().__init__()
        self.low_pass = low_pass
        self.pixels = pixels

    def forward(self, images: Tensor, mask: PatchMask | None = None) -> Tensor:
        """See `PixelTarget`."""
        return self.pixels(self.low_pass(images), mask)

    def to_pixels(self, prediction: Tensor, images: Tensor, mask: PatchMask | None = None) -> Tensor:
        """See `PixelTarget.to_pixels`; the statistics are those of the filtered image."""
        return self.pixels.to_pixels(prediction, self.low_pass(images), mask)

    def source_images(self, images: Tensor) -> Tensor:
        """The filtered images."""
        return self.low_pass(images)

    def timed_parts(self, images: Tensor) -> dict[str, Callable[[], object]]:
        """The filter is all that PixMIM adds to a step."""
        return {"filter": lambda: self.low_pass(images)}


class LowPassFilter(nn.Module):
    """The ideal circular low-pass filter of mmselfsup's low_freq_generator.py, errata included.

    The official filter is a disc around (N - 1) / 2 on a spectrum whose zero frequency is at N // 2.
    It is half a bin off: for an even N it keeps some frequencies k without their mirror -k, the
    filtered image is complex, and the official code takes its absolute value. Released weights were
    trained on that target, so it is reproduced.

    No complex transform of the whole image is needed. For a real image with spectrum X and a filter
    m, the real part of the result has the spectrum X(k) (m(k) + m(-k)) / 2 and the imaginary part
    X(k) (m(k) - m(-k)) / 2i. Both are Hermitian, so real transforms suffice, and columns that the
    filter removes are never transformed.

    Args:
        image_size: side of the square images in pixels.
        radius: of the disc in frequency bins.
        mean, std: that normalize the images, in units of 0..1; the filter acts on plain pixels.

    Raises:
        ValueError: `radius` is not positive, or above the highest frequency, `image_size` / 2.
    """

    real: Tensor
    imaginary: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self, image_size: int, radius: float, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        if not 0 < radius <= image_size / 2:
            raise ValueError(
                f"radius must be above 0 and at most {image_size / 2} (half the image size), "
                f"got {radius}"
            )
        kept = official_disc(image_size, radius).float()
        mirrored = kept.flip(0, 1).roll((1, 1), (0, 1))  # m(-k): index 0 stays, i becomes N - i
        half = image_size // 2 + 1  # columns 0..N/2 determine the spectrum of a real image
        real, imaginary = (kept + mirrored)[:, :half] / 2, (kept - mirrored)[:, :half] / 2
        columns = int((real + imaginary.abs()).any(dim=0).nonzero().max()) + 1
        self.image_size = image_size
        buffers = dict(
            real=real[:, :columns],
            imaginary=-1j * imaginary[:, :columns],
            mean=torch.tensor(mean).view(-1, 1, 1),
            std=torch.tensor(std).view(-1, 1, 1),
        )
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, N, N) normalized -> the same with low frequencies only, float32.

        Raises:
            ValueError: the images are not of `image_size`.
        """
        n = self.image_size
        if images.shape[-2:] != (n, n):
            raise ValueError(f"the filter is made for {n}x{n} images, got {tuple(images.shape)}")
        # Half precision has no FFT for most sizes, and loses small coefficients.
        with torch.autocast(images.device.type, enabled=False):
            pixels = images.float() * self.std + self.mean
            spectrum = torch.fft.rfft(pixels, dim=-1)[..., : self.real.shape[1]]
            spectrum = torch.fft.fft(spectrum, dim=-2)
            real = self._inverse(spectrum * self.real)
            imaginary = self._inverse(spectrum * self.imaginary)
            return (torch.hypot(real, imaginary) - self.mean) / self.std

    def _inverse(self, spectrum: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.ifft(spectrum, dim=-2), n=self.image_size, dim=-1)


def official_disc(size: int, radius: float) -> Tensor:
    """(size, size) bool, True = kept, in the order of `torch.fft.fft2`.

    low_freq_generator.py:36-52: distance from (N - 1) / 2 on the shifted spectrum.
    """
    distance = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    disc = distance[:, None] ** 2 + distance[None, :] ** 2 <= radius**2
    return torch.fft.ifftshift(disc)
