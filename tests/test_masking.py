import pytest
import torch

from mmmim import masking
from mmmim.masking import (
    PatchMask,
    as_patch_mask,
    attentive_mask,
    block_mask,
    complementary_masks,
    mixing_mask,
    random_mask,
)


def test_positions_are_in_row_major_order():
    mask = PatchMask.from_tensor(torch.tensor([[True, False, False, True], [False, True, True, False]]))
    assert mask.visible_idx.tolist() == [[1, 2], [0, 3]]
    assert mask.masked_idx.tolist() == [[0, 3], [1, 2]]
    assert (mask.num_patches, mask.num_visible, mask.num_masked) == (4, 2, 2)
    tokens = torch.arange(8).view(2, 4, 1)
    assert mask.gather_visible(tokens).flatten().tolist() == [1, 2, 4, 7]
    assert mask.gather_masked(tokens).flatten().tolist() == [0, 3, 5, 6]


def test_row_i_of_several_masks_belongs_to_image_i_modulo_the_batch():
    mask = complementary_masks(2, 8, 0.75, "cpu")
    images = torch.tensor([10.0, 20.0]).view(2, 1, 1).expand(2, 8, 1)
    assert mask.gather_visible(images)[:, 0, 0].tolist() == [10, 20] * 4


def test_a_draw_and_the_tensor_of_its_mask_sort_alike():
    draw = random_mask(3, 16, 0.75, "cpu")
    sorted_again = as_patch_mask(draw.mask)
    assert torch.equal(sorted_again.visible_idx, draw.visible_idx)
    assert torch.equal(sorted_again.masked_idx, draw.masked_idx)
    assert as_patch_mask(draw) is draw


def test_an_uneven_mask_is_refused():
    with pytest.raises(ValueError, match="between 1 and 2 of 3"):
        PatchMask.from_tensor(torch.tensor([[True, False, False], [True, True, False]]))


def test_a_mask_that_is_not_bool_is_refused():
    with pytest.raises(ValueError, match=r"bool.*int64.*mask\.bool\(\)"):
        PatchMask.from_tensor(torch.tensor([[1, 0, 0], [1, 0, 0]]))


@pytest.mark.parametrize("shape", [(2, 15), (3, 16)])
def test_a_mask_of_other_patches_or_images_is_refused(shape):
    mask = PatchMask.all_visible(*shape, "cpu")
    with pytest.raises(ValueError, match=r"shape \(2, 16\)"):
        mask.check_fits(2, 16)


def test_an_upsampled_mask_repeats_every_patch_as_a_square():
    mask = PatchMask.from_tensor(torch.tensor([[True, False, False, False, True, False]]))
    fine = mask.upsample((2, 3), 2).view(4, 6)
    assert fine.int().tolist() == [[1, 1, 0, 0, 0, 0]] * 2 + [[0, 0, 1, 1, 0, 0]] * 2


def official_mask(batch: int, length: int, ratio: float) -> torch.Tensor:
    """models_mae.py:123-148, from its description: 0 is keep, 1 is remove."""
    keep = int(length * (1 - ratio))
    rank = torch.rand(batch, length).argsort(dim=1).argsort(dim=1)
    return rank >= keep


@pytest.mark.parametrize("ratio", [0.25, 0.6, 0.75, 0.9])
def test_a_seed_gives_the_official_random_mask(ratio):
    torch.manual_seed(7)
    expected = official_mask(4, 196, ratio)
    torch.manual_seed(7)
    mask = random_mask(4, 196, ratio, "cpu")
    assert mask.mask.dtype == torch.bool
    assert torch.equal(mask.mask, expected)


@pytest.mark.parametrize("ratio", [1.0, 0.999, 0.0])
def test_random_masks_refuse_a_ratio_that_masks_all_or_nothing(ratio):
    with pytest.raises(ValueError, match="at least one must be visible and one masked"):
        random_mask(2, 16, ratio, "cpu")


def test_ranks_take_their_rows_of_the_global_random_mask(monkeypatch):
    torch.manual_seed(3)
    whole = random_mask(6, 16, 0.75, "cpu").mask
    monkeypatch.setattr(masking, "get_world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(masking, "get_rank", lambda rank=rank: rank)
        torch.manual_seed(3)
        assert torch.equal(random_mask(3, 16, 0.75, "cpu").mask, whole[rank::2])


def test_squares_are_drawn_as_patches_of_a_coarser_grid():
    torch.manual_seed(5)
    coarse = random_mask(3, 6, 0.5, "cpu").mask.view(3, 2, 3)
    torch.manual_seed(5)
    fine = block_mask(3, (4, 6), 2, 0.5, "cpu").mask.view(3, 4, 6)
    for dy in range(2):
        for dx in range(2):
            assert torch.equal(fine[:, dy::2, dx::2], coarse)


@pytest.mark.parametrize("ratio", [0.5, 0.75, 1 - 1 / 7])
def test_complementary_masks_show_every_patch_once(ratio):
    masks = complementary_masks(3, 28, ratio, "cpu").mask.view(-1, 3, 28)
    assert masks.shape == (round(1 / (1 - ratio)), 3, 28)
    assert ((~masks).sum(dim=0) == 1).all()


def test_complementary_masks_are_cut_from_the_official_order():
    """models_fastconvmae.py:140-190: argsort of one draw, part i is visible in mask i."""
    torch.manual_seed(7)
    order = torch.rand(2, 196).argsort(dim=1)
    torch.manual_seed(7)
    masks = complementary_masks(2, 196, 0.75, "cpu").mask.view(4, 2, 196)
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


def test_a_seed_gives_torchs_multinomial():
    importance = torch.rand(5, 196) + 1e-4
    torch.manual_seed(7)
    kept = torch.multinomial(importance, 196, replacement=False)[:, :58]
    torch.manual_seed(7)
    mask = attentive_mask(importance, 0.7)
    expected = torch.ones(5, 196, dtype=torch.bool).scatter_(1, kept, False)
    assert torch.equal(mask.mask, expected)


def test_patches_with_high_attention_are_kept_more_often():
    torch.manual_seed(0)
    importance = torch.ones(2000, 10)
    importance[:, 3] = 8
    kept = (~attentive_mask(importance, 0.7).mask).float().mean(dim=0)
    assert kept[3] > 0.8
    assert kept[[0, 9]].max() < 0.35


@pytest.mark.parametrize("wrong", [0.0, float("nan"), -1.0])
def test_a_weight_that_is_not_positive_is_refused(wrong):
    importance = torch.ones(2, 16)
    importance[1, 5] = wrong
    with pytest.raises(RuntimeError, match=r"zeros or NaN.*check the teacher's weights"):
        attentive_mask(importance, 0.7)


@pytest.mark.parametrize("ratio", [1.0, 0.99, 0.0])
def test_attentive_masks_refuse_a_ratio_that_masks_all_or_nothing(ratio):
    with pytest.raises(ValueError, match="at least one must be visible and one masked"):
        attentive_mask(torch.ones(2, 16), ratio)


def test_ranks_take_their_rows_of_the_global_attentive_mask(monkeypatch):
    importance = torch.rand(6, 16) + 0.1
    torch.manual_seed(3)
    whole = attentive_mask(importance, 0.75).mask
    monkeypatch.setattr(masking, "get_world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(masking, "get_rank", lambda rank=rank: rank)
        torch.manual_seed(3)
        assert torch.equal(attentive_mask(importance[rank::2], 0.75).mask, whole[rank::2])


def test_a_seed_gives_the_official_mixing_mask():
    """models_mixmim.py:305-332: argsort of rand(1, 1, L), the first int(L * ratio) are masked."""
    torch.manual_seed(7)
    masked = torch.rand(1, 1, 49).argsort(dim=2)[0, 0, :24]
    torch.manual_seed(7)
    mask = mixing_mask(49, 0.5, "cpu")
    assert mask.num_masked == 24
    assert mask.mask.shape == (1, 49)
    assert mask.mask.dtype == torch.bool
    assert torch.equal(mask.masked_idx[0], masked.sort().values)


def test_processes_seeded_alike_draw_masks_of_their_own(monkeypatch):
    masks = []
    monkeypatch.setattr(masking, "get_world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(masking, "get_rank", lambda rank=rank: rank)
        torch.manual_seed(0)
        masks.append(mixing_mask(49, 0.5, "cpu").mask)
    assert not torch.equal(*masks)


@pytest.mark.parametrize("ratio", [0.0, 0.01, 1.0])
def test_mixing_masks_refuse_a_ratio_that_masks_all_or_nothing(ratio):
    with pytest.raises(ValueError, match="at least one must be visible and one masked"):
        mixing_mask(49, ratio, "cpu")
