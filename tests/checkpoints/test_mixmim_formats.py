"""Conversion of official and mmpretrain's MixMIM files; tests/parity compares what they compute."""

import pytest
import torch

from mmmim.checkpoints import convert, detect_format, load_backbone, write_checkpoint
from mmmim.checkpoints.formats import export
from mmmim.checkpoints.load import CheckpointMismatch
from mmmim.registry import MODELS

ARCH = dict(embed_dims=8, depths=(1, 1, 2, 1), num_heads=(1, 2, 2, 4))
BACKBONE = dict(type="MixMIMTransformer", arch=ARCH, img_size=64)
MIXMIM = dict(type="MixMIM", backbone=BACKBONE, decoder=dict(embed_dims=16, depth=1, num_heads=2))


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return MODELS.build(MIXMIM).state_dict()


@pytest.mark.parametrize("name", ["mixmim", "mmpretrain-mixmim"])
def test_there_and_back_is_the_same_decoder_included(weights, name):
    theirs, left_out = export(weights, name)
    assert not left_out
    assert detect_format(theirs) == name
    ours, left_out = convert(theirs)
    assert all(key.endswith("relative_position_index") for key in left_out)
    assert ours.keys() == weights.keys()
    assert all(torch.equal(ours[k], weights[k]) for k in weights)


def test_mmpretrain_merges_patches_in_another_order(weights):
    """mmcv's unfold, slowest first: channels, rows, columns; timm's: columns, rows, channels."""
    key = "backbone.layers.0.downsample.norm.weight"
    value = torch.arange(32.0)  # 2 x 2 tokens of 8 channels
    moved, _ = export({**weights, key: value}, "mmpretrain-mixmim")
    column, row, channel = 1, 0, 5
    assert moved[key][channel * 4 + row * 2 + column] == (column * 2 + row) * 8 + channel


def test_a_fine_tuned_file_gives_its_encoder(weights):
    theirs = {
        k: v for k, v in export(weights, "mixmim")[0].items() if not k.startswith(("decoder", "mask"))
    }
    ours, _ = convert({**theirs, "head.weight": torch.zeros(10, 64)})
    assert ours.keys() == {"head.fc.weight"} | {k for k in weights if k.startswith("backbone.")}


def test_windows_and_positions_are_resized_for_larger_images(tmp_path, weights):
    """As 224 pixels in windows of 14 become 384 in windows of 16, but for 64 and 128 pixels."""
    path = tmp_path / "mixmim.pth"
    write_checkpoint(path, export(weights, "mixmim")[0], {})
    large = MODELS.build(
        dict(BACKBONE, img_size=128, window_sizes=(16, 16, 8, 4), out_indices=(0, 1, 2, 3))
    )
    report = load_backbone(large, str(path))
    assert "absolute_pos_embed" in report.resized
    assert "layers.1.blocks.0.attn.relative_position.table" in report.resized
    assert {name.split(".")[0] for name in report.new} == {"norm0", "norm1", "norm2"}
    assert all(name.endswith("relative_position_index") for name in report.unused)


def test_a_file_without_a_table_of_pretraining_is_refused(tmp_path, weights):
    path = tmp_path / "mixmim.pth"
    name = "layers.2.blocks.1.attn.relative_position.table"
    write_checkpoint(path, {k: v for k, v in weights.items() if name not in k}, {})
    with pytest.raises(CheckpointMismatch, match=name):
        load_backbone(MODELS.build(BACKBONE), str(path))
