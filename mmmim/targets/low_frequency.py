"""The low frequencies of an image: PixMIM's target (arXiv 2303.02416, section 3.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmmim.targets.pixels import PixelTarget


class LowPassFilter(nn.Module):
    """The ideal circular low-pass filter of mmselfsup's low_freq_generator.py, errata included.

    The official filter is a disc around (N - 1) / 2 on a spectrum whose zero frequency stands at
    N // 2: half a bin off, so for an even N it keeps some frequencies k without their mirror -k, the
    filtered image is complex, and the official code takes its absolute value. Released weights were
    trained on that target, so it is the default here, and there is no other.

    It is computed without a complex transform of the whole image. For a real image with spectrum X
    and a filter m, the real part of the result has the spectrum X(k) (m(k) + m(-k)) / 2 and the
    imaginary part X(k) (m(k) - m(-k)) / 2i. Both are Hermitian, so real transforms do, and columns
    that the filter removes are never transformed.

    Args:
        image_size: side of the square images, in pixels.
        radius: of the disc, in frequency bins.
        mean, std: of the images' normalisation, in units of 0..1; the filter acts on plain pixels.

    Raises:
        ValueError: the radius is not positive, or beyond the highest frequency `image_size` / 2.
    """

    def __init__(
        self, image_size: int, radius: float, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        if not 0 < radius <= image_size / 2:
            raise ValueError(
                f"the radius must lie in 0 .. {image_size / 2} (half the image size), got {radius}"
            )
        kept = official_disc(image_size, radius).float()
        mirrored = kept.flip(0, 1).roll((1, 1), (0, 1))  # m(-k): index 0 stays, i becomes N - i
        half = image_size // 2 + 1  # of a real image, columns 0..N/2 tell the rest
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
        """(B, 3, N, N) normalised -> the same, low frequencies only, float32.

        Raises:
            ValueError: the images are not of `image_size`.
        """
        n = self.image_size
        if images.shape[-2:] != (n, n):
            raise ValueError(f"the filter is made for {n}x{n} images, got {tuple(images.shape)}")
        # Half precision has no FFT on most sizes, and loses the small coefficients.
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

    low_freq_generator.py:36-52: distance from (N - 1) / 2, on the shifted spectrum.
    """
    distance = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    disc = distance[:, None] ** 2 + distance[None, :] ** 2 <= radius**2
    return torch.fft.ifftshift(disc)


class LowFrequencyTarget(nn.Module):
    """A pixel target cut from filtered images.

    Args:
        low_pass: images (B, 3, H, W) -> filtered images.
        pixels: what the host would predict of them.
    """

    def __init__(self, low_pass: LowPassFilter, pixels: PixelTarget) -> None:
        super().__init__()
        self.low_pass = low_pass
        self.pixels = pixels

    def forward(self, images: Tensor, mask: Tensor | None = None, hidden: int | None = None) -> Tensor:
        """(B, 3, H, W) and mask (K * B, L) -> (K * B, M, p * p * 3) float32; see `PixelTarget`."""
        return self.pixels(self.low_pass(images), mask, hidden)

    def to_pixels(self, prediction: Tensor, images: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `PixelTarget.to_pixels`; the statistics are those of the filtered image."""
        return self.pixels.to_pixels(prediction, self.low_pass(images), mask)

    def seen_as(self, images: Tensor) -> Tensor:
        """The filtered images."""
        return self.low_pass(images)
