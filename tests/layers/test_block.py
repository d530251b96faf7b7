import pytest
import torch
from torchvision.ops import stochastic_depth

from mmmim.layers import block
from mmmim.layers.block import DropPath


def test_one_process_drops_as_torchvision_does():
    branch = torch.randn(16, 3, 2)
    torch.manual_seed(0)
    expected = stochastic_depth(branch, 0.4, "row")
    torch.manual_seed(0)
    assert torch.equal(DropPath(0.4)(branch), expected)
    assert torch.equal(DropPath(0.4).eval()(branch), branch)


def test_two_processes_drop_what_one_would(monkeypatch):
    branch = torch.ones(32, 1, 1)
    torch.manual_seed(0)
    of_one = DropPath(0.5)(branch)
    monkeypatch.setattr(block, "get_world_size", lambda: 2)
    shares = []
    for rank in range(2):
        monkeypatch.setattr(block, "get_rank", lambda rank=rank: rank)
        torch.manual_seed(0)
        shares.append(DropPath(0.5)(branch[rank::2]))
    assert torch.equal(torch.stack(shares, dim=1).flatten(0, 1), of_one)
    assert not torch.equal(*shares)


def test_an_impossible_rate_is_refused():
    with pytest.raises(ValueError, match=r"less than 1, got 1\.0"):
        DropPath(1.0)
