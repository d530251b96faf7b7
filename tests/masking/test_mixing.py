import pytest
import torch

from mmmim.masking import mixing, mixing_mask


def test_a_seed_gives_the_official_mask():
    """models_mixmim.py:305-332: argsort of rand(1, 1, L), the first int(L * ratio) are hidden."""
    torch.manual_seed(7)
    hidden = torch.rand(1, 1, 49).argsort(dim=2)[0, 0, :24]
    torch.manual_seed(7)
    mask, count = mixing_mask(49, 0.5, "cpu")
    assert count == 24
    assert mask.shape == (1, 49)
    assert mask.dtype == torch.bool
    assert torch.equal(mask[0].nonzero().flatten(), hidden.sort().values)


def test_processes_seeded_alike_draw_masks_of_their_own(monkeypatch):
    masks = []
    monkeypatch.setattr(mixing, "get_world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(mixing, "get_rank", lambda rank=rank: rank)
        torch.manual_seed(0)
        masks.append(mixing_mask(49, 0.5, "cpu")[0])
    assert not torch.equal(*masks)


@pytest.mark.parametrize("ratio", [0.0, 0.01, 1.0])
def test_a_ratio_that_hides_nothing_or_all_is_refused(ratio):
    with pytest.raises(ValueError, match="one visible and one hidden at least"):
        mixing_mask(49, ratio, "cpu")
