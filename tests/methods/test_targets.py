import pytest
import torch

from mmmim.layers.tokens import flatten_pixels, patchify
from mmmim.masking import PatchMask
from mmmim.methods.pixel_reconstruction import PixelTarget
from mmmim.methods.pixmim import LowPassFilter

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def plain_low_pass(images: torch.Tensor, radius: float) -> torch.Tensor:
    """The definition by a complex transform: disc around (N - 1) / 2, absolute value."""
    n = images.shape[-1]
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    line = torch.arange(n) - (n - 1) / 2
    disc = line[:, None] ** 2 + line[None] ** 2 <= radius**2
    spectrum = torch.fft.fftshift(torch.fft.fft2(images * std + mean), dim=(-2, -1))
    return (torch.fft.ifft2(spectrum * disc).abs() - mean) / std


@pytest.mark.parametrize(("size", "radius"), [(224, 40), (96, 17.1), (33, 5), (32, 16), (64, 1)])
def test_low_pass_equals_its_definition(size, radius):
    images = torch.randn(2, 3, size, size)
    error = LowPassFilter(size, radius, MEAN, STD)(images) - plain_low_pass(images, radius)
    assert error.abs().max() < 2e-5


def test_low_pass_runs_in_float32_under_autocast():
    images = torch.randn(1, 3, 32, 32)
    low_pass = LowPassFilter(32, 6, MEAN, STD)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(low_pass(images), low_pass(images.float()))


@pytest.mark.parametrize("radius", [0, -1, 17])
def test_a_radius_beyond_the_spectrum_is_refused(radius):
    with pytest.raises(ValueError, match=r"at most 16"):
        LowPassFilter(32, radius, MEAN, STD)


def test_another_image_size_is_refused():
    with pytest.raises(ValueError, match="32x32 images"):
        LowPassFilter(32, 6, MEAN, STD)(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("norm_pix", [True, False])
def test_pixels_come_back_from_their_own_target(norm_pix):
    images = torch.randn(2, 3, 16, 16)
    mask = PatchMask.from_tensor(torch.rand(2, 16).argsort(1) >= 4)
    target = PixelTarget(4, norm_pix)
    pixels = target(images, mask)
    assert pixels.shape == (2, 12, 48)
    masked = flatten_pixels(patchify(images, 4))[mask.mask].view(2, 12, 48)
    assert torch.allclose(target.to_pixels(pixels, images, mask), masked, atol=1e-5)
    if norm_pix:  # the epsilon keeps constant patches finite
        assert target(torch.ones(2, 3, 16, 16), mask).abs().max() == 0
