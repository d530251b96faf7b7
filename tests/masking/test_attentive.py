import pytest
import torch

from mmmim.masking import attentive, attentive_mask


def test_a_seed_gives_torchs_multinomial():
    importance = torch.rand(5, 196) + 1e-4
    torch.manual_seed(7)
    kept = torch.multinomial(importance, 196, replacement=False)[:, :58]
    torch.manual_seed(7)
    mask = attentive_mask(importance, 0.7)
    expected = torch.ones(5, 196, dtype=torch.bool).scatter_(1, kept, False)
    assert torch.equal(mask, expected)


def test_what_is_attended_to_is_likelier_kept():
    torch.manual_seed(0)
    importance = torch.ones(2000, 10)
    importance[:, 3] = 8
    kept = (~attentive_mask(importance, 0.7)).float().mean(dim=0)
    assert kept[3] > 0.8
    assert kept[[0, 9]].max() < 0.35


@pytest.mark.parametrize("wrong", [0.0, float("nan"), -1.0])
def test_a_weight_that_is_not_positive_is_refused(wrong):
    importance = torch.ones(2, 16)
    importance[1, 5] = wrong
    with pytest.raises(RuntimeError, match=r"zeros or NaN: check the teacher's weights"):
        attentive_mask(importance, 0.7)


@pytest.mark.parametrize("ratio", [1.0, 0.99, 0.0])
def test_a_ratio_without_visible_or_hidden_patches_is_refused(ratio):
    with pytest.raises(ValueError, match="one visible and one hidden at least"):
        attentive_mask(torch.ones(2, 16), ratio)


def test_processes_share_out_the_mask_of_the_global_batch(monkeypatch):
    importance = torch.rand(6, 16) + 0.1
    torch.manual_seed(3)
    whole = attentive_mask(importance, 0.75)
    monkeypatch.setattr(attentive, "get_world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(attentive, "get_rank", lambda rank=rank: rank)
        torch.manual_seed(3)
        assert torch.equal(attentive_mask(importance[rank::2], 0.75), whole[rank::2])
