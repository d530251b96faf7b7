import pytest
import torch

from mmmim.masking import block_mask, complementary_masks, random, random_mask


def official_mask(batch: int, length: int, ratio: float) -> torch.Tensor:
    """models_mae.py:123-148, from its description: 0 is keep, 1 is remove."""
    keep = int(length * (1 - ratio))
    rank = torch.rand(batch, length).argsort(dim=1).argsort(dim=1)
    return rank >= keep


@pytest.mark.parametrize("ratio", [0.25, 0.6, 0.75, 0.9])
def test_a_seed_gives_the_official_mask(ratio):
    torch.manual_seed(7)
    expected = official_mask(4, 196, ratio)
    torch.manual_seed(7)
    mask = random_mask(4, 196, ratio, "cpu")
    assert mask.dtype == torch.bool
    assert torch.equal(mask, expected)


@pytest.mark.parametrize("ratio", [1.0, 0.999, 0.0])
def test_a_ratio_without_visible_or_hidden_patches_is_refused(ratio):
    with pytest.raises(ValueError, match="one visible and one hidden at least"):
        random_mask(2, 16, ratio, "cpu")


def test_processes_share_out_the_mask_of_the_global_batch(monkeypatch):
    torch.manual_seed(3)
    whole = random_mask(6, 16, 0.75, "cpu")
    monkeypatch.setattr(random, "get_world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(random, "get_rank", lambda rank=rank: rank)
        torch.manual_seed(3)
        assert torch.equal(random_mask(3, 16, 0.75, "cpu"), whole[rank::2])


def test_squares_are_drawn_as_patches_of_a_coarser_grid():
    torch.manual_seed(5)
    coarse = random_mask(3, 6, 0.5, "cpu").view(3, 2, 3)
    torch.manual_seed(5)
    fine = block_mask(3, (4, 6), 2, 0.5, "cpu").view(3, 4, 6)
    for dy in range(2):
        for dx in range(2):
            assert torch.equal(fine[:, dy::2, dx::2], coarse)


@pytest.mark.parametrize("ratio", [0.5, 0.75, 1 - 1 / 7])
def test_complementary_masks_show_every_patch_once(ratio):
    masks = complementary_masks(3, 28, ratio, "cpu")
    assert masks.shape == (round(1 / (1 - ratio)), 3, 28)
    assert ((~masks).sum(dim=0) == 1).all()


def test_complementary_masks_are_cut_from_the_official_order():
    """models_fastconvmae.py:140-190: argsort of one draw, part i is visible in mask i."""
    torch.manual_seed(7)
    order = torch.rand(2, 196).argsort(dim=1)
    torch.manual_seed(7)
    masks = complementary_masks(2, 196, 0.75, "cpu")
    for i, mask in enumerate(masks):
        assert torch.equal(
            mask.logical_not().nonzero()[:, 1].view(2, 49), order[:, 49 * i : 49 * i + 49].sort().values
        )


@pytest.mark.parametrize("ratio", [0.0, 0.6, 0.9, 1.0])
def test_a_ratio_that_does_not_split_is_refused(ratio):
    with pytest.raises(ValueError, match=r"does not split 196 patches.*one of 0\.5, 0\.75, 0\.8571"):
        complementary_masks(1, 196, ratio, "cpu")
    with pytest.raises(ValueError, match=r"does not split 49 patches.*one of 0\.8571 "):
        complementary_masks(1, 49, 0.75, "cpu")
