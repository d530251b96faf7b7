import pytest
import torch

from mmmim.layers.attention import (
    DecomposedRelativePosition,
    RelativePositionBias,
    relative_table,
    window_partition,
    window_reverse,
)


def test_windows_come_back_whole_when_they_do_not_fit():
    tokens = torch.randn(2, 5, 7, 3)
    windows = window_partition(tokens, 4)
    assert windows.shape == (2 * 2 * 2, 16, 3)
    assert torch.equal(window_reverse(windows, 4, (5, 7)), tokens)
    assert windows[1].view(4, 4, 3)[:, 3].eq(0).all()  # the padding is on the right


def test_decomposed_bias_is_the_sum_over_both_axes():
    module = DecomposedRelativePosition((3, 4), head_dim=5)
    torch.nn.init.normal_(module.rel_pos_h)
    torch.nn.init.normal_(module.rel_pos_w)
    query = torch.randn(1, 2, 12, 5)
    bias = module(query, (3, 4))
    (y, x), (key_y, key_x) = (2, 1), (0, 3)
    q = query[0, 1, y * 4 + x]
    expected = q @ module.rel_pos_h[y - key_y + 2] + q @ module.rel_pos_w[x - key_x + 3]
    assert bias[0, 1, y * 4 + x, key_y * 4 + key_x].item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_relative_table_of_another_size_is_resized():
    assert relative_table(torch.randn(13, 4), 7).shape == (7, 7, 4)
    assert relative_table(torch.randn(13, 4), 9).shape == (9, 9, 4)


def test_bias_tells_offsets_apart_and_the_class_token():
    module = RelativePositionBias((2, 3), num_heads=1)
    module.table.data = torch.arange(len(module.table)).float().unsqueeze(1)
    bias = module(torch.zeros(1, 1, 7, 4), (2, 3))[0, 0]
    assert bias[1, 2] == bias[2, 3] == bias[4, 5]  # the same step to the right
    assert bias[1, 2] != bias[2, 1]
    assert bias[0, 1:].unique().numel() == 1
    assert len({bias[0, 1].item(), bias[1, 0].item(), bias[0, 0].item()}) == 3
    assert torch.equal(module(torch.zeros(1, 1, 6, 4), (2, 3))[0, 0], bias[1:, 1:])


def test_bias_of_another_grid_keeps_its_centre():
    module = RelativePositionBias((4, 4), num_heads=1)
    module.table.data[24] = 1.0  # the middle of 7 x 7 offsets: a token and itself
    bias = module(torch.zeros(1, 1, 36, 4), (6, 6))[0, 0]
    assert bias.diagonal().min() == bias.max()


def test_a_smaller_map_reads_the_middle_of_a_bias_table():
    """An offset has the same bias on every map that the table covers."""
    module = RelativePositionBias((4, 5), 2, with_cls_token=False)
    torch.nn.init.normal_(module.table)
    whole = module.bias((4, 5)).view(2, 4, 5, 4, 5)
    part = module.bias((2, 3)).view(2, 2, 3, 2, 3)
    assert torch.equal(part, whole[:, :2, :3, :2, :3])
    assert part.stride(-1) == 1  # required by the fused kernels of GPUs


def test_a_bias_table_grows_only_along_the_side_that_does_not_fit():
    module = RelativePositionBias((4, 4), 1, with_cls_token=False)
    with torch.no_grad():  # a ramp down the rows: resizing columns does not change it
        module.table.copy_(torch.arange(7.0).repeat_interleave(7).unsqueeze(1))
    larger = module.bias((2, 6)).view(2, 6, 2, 6)
    assert larger[0, 0, 1, 0].item() == pytest.approx(2.0, abs=1e-5)
    assert larger[1, 5, 0, 0].item() == pytest.approx(4.0, abs=1e-5)
