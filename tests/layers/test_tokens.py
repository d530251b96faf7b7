import pytest
import torch

from mmmim.layers.patches import flatten_pixels, join_patches, split_patches
from mmmim.layers.tokens import gather_tokens, hidden_indices, visible_indices


def test_patches_run_row_by_row_and_pixels_channel_fastest():
    images = torch.arange(2 * 3 * 4 * 6).float().view(2, 3, 4, 6)
    patches = split_patches(images, 2)
    assert torch.equal(patches[0, 1], images[0, :, 0:2, 2:4])  # second column comes second
    assert torch.equal(patches[1, 3], images[1, :, 2:4, 0:2])  # then the next row
    pixels = flatten_pixels(patches)
    assert pixels[0, 0, :3].tolist() == images[0, :, 0, 0].tolist()
    assert torch.equal(join_patches(pixels, (2, 3)), images)


def test_a_size_the_patch_does_not_divide_names_the_cure():
    with pytest.raises(ValueError, match=r"multiple of the patch size 16, got 225x224.*224x224"):
        split_patches(torch.zeros(1, 3, 225, 224), 16)


def test_tokens_are_chosen_in_row_major_order():
    mask = torch.tensor([[True, False, False, True], [False, True, True, False]])
    assert visible_indices(mask).tolist() == [[1, 2], [0, 3]]
    assert hidden_indices(mask).tolist() == [[0, 3], [1, 2]]
    tokens = torch.arange(8).view(2, 4, 1)
    assert gather_tokens(tokens, visible_indices(mask)).flatten().tolist() == [1, 2, 4, 7]


def test_an_uneven_mask_is_refused():
    mask = torch.tensor([[True, False, False], [True, True, False]])
    with pytest.raises(ValueError, match="between 1 and 2 of 3"):
        visible_indices(mask)
