import math

import pytest
import torch

from mmmim.layers.tokens import (
    flatten_pixels,
    patchify,
    resample_abs_pos_embed,
    sincos_2d,
    unpatchify,
)


def test_patches_run_row_by_row_and_pixels_channel_fastest():
    images = torch.arange(2 * 3 * 4 * 6).float().view(2, 3, 4, 6)
    patches = patchify(images, 2)
    assert torch.equal(patches[0, 1], images[0, :, 0:2, 2:4])  # patch 1 is in the second column
    assert torch.equal(patches[1, 3], images[1, :, 2:4, 0:2])  # patch 3 is in the second row
    pixels = flatten_pixels(patches)
    assert pixels[0, 0, :3].tolist() == images[0, :, 0, 0].tolist()
    assert torch.equal(unpatchify(pixels, (2, 3)), images)


def test_a_size_the_patch_does_not_divide_names_the_cure():
    with pytest.raises(ValueError, match=r"multiple of the patch size 16, got 225x224.*224x224"):
        patchify(torch.zeros(1, 3, 225, 224), 16)


def test_sincos_encodes_column_then_row():
    table = sincos_2d(8, (3, 5))
    row, column = 2, 4
    omega = 10000 ** -(1 / 2)  # the second of two frequencies
    expected = [
        math.sin(column), math.sin(column * omega), math.cos(column), math.cos(column * omega),
        math.sin(row), math.sin(row * omega), math.cos(row), math.cos(row * omega),
    ]  # fmt: skip
    assert table[row * 5 + column].tolist() == pytest.approx(expected, abs=1e-6)


def test_resizing_to_the_same_grid_is_exact_and_to_another_keeps_a_ramp():
    ramp = torch.linspace(0, 1, 8).repeat(8, 1).reshape(1, 64, 1)
    assert torch.equal(resample_abs_pos_embed(ramp, (8, 8), (8, 8)), ramp)
    resized = resample_abs_pos_embed(ramp, (8, 8), (16, 12)).reshape(16, 12)
    assert torch.allclose(resized[0], resized[7], atol=1e-6)  # constant down a column
    assert (resized[0].diff() > 0).all()
