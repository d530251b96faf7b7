import pytest
import torch

from mmmim.masking import random, random_mask


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
    with pytest.raises(ValueError, match="at least one visible and one hidden"):
        random_mask(2, 16, ratio, "cpu")


def test_processes_share_out_the_mask_of_the_global_batch(monkeypatch):
    torch.manual_seed(3)
    whole = random_mask(6, 16, 0.75, "cpu")
    monkeypatch.setattr(random, "get_world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(random, "get_rank", lambda rank=rank: rank)
        torch.manual_seed(3)
        assert torch.equal(random_mask(3, 16, 0.75, "cpu"), whole[rank::2])
