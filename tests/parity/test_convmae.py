"""Our ConvMAE, FastConvMAE and ConvViT against the official code (record_convmae.py)."""

import re

import pytest
import torch

from mmmim.checkpoints import convert
from mmmim.registry import MODELS
from tests.parity.common import (
    SEED,
    assert_equal_step,
    close_to_summary,
    images,
    load,
    set_weights,
    tensor_summary,
)

NARROW = dict(embed_dims=(16, 24, 48), depths=(2, 2, 11), num_heads=12)


def official_name(name: str) -> str:
    """Our parameter name -> the official one."""
    name = name.removeprefix("backbone.")
    name = re.sub(r"fusion\.stage([12])", r"stage\1_output_decode", name)
    name = name.replace("fusion.norm", "norm").replace("decoder.mask_token", "mask_token")
    return name.replace("decoder.", "decoder_")


@pytest.mark.parametrize(
    ("method", "golden"), [("ConvMAE", "convmae_base"), ("FastConvMAE", "fastconvmae_base")]
)
def test_loss_and_every_gradient_equal_the_official_ones(method, golden):
    expected = load(golden)
    model = MODELS.build(dict(type=method, backbone=dict(type="ConvViT", arch="base")))
    trained = {official_name(n): p for n, p in model.named_parameters() if p.requires_grad}
    set_weights(trained)

    torch.manual_seed(SEED)
    loss = model(images(2, 224), mode="loss")["loss"]
    loss.backward()
    assert_equal_step(expected, loss, trained)


FPN = dict(
    img_size=1024,
    window_size=16,
    global_blocks=(0, 3, 6, 10),
    relative_position="shared",
)
PYRAMID = dict(
    out_indices=(2,),
    window_size=14,
    global_blocks=(1, 4, 7, 10),
    relative_position="decomposed",
    conv_eps=1e-6,
)
UPERNET = dict(
    img_size=512,
    out_indices=(0, 1, 2),
    relative_position="bias",
    relative_position_size=512,
    layer_scale=1.0,
    eps=1e-5,
)
HALVE = dict(type="AppendDownsampled", in_channels=48, norm_cfg=dict(type="BN"))


@pytest.mark.parametrize(
    ("golden", "prefix", "size", "backbone", "neck"),
    [
        ("convmae_detection_fpn", "backbone.bottom_up.", 1024, FPN, None),
        ("convmae_detection_pyramid", "backbone.net.", 1024, PYRAMID, None),
        ("convmae_segmentation", "backbone.", 512, UPERNET, HALVE),
    ],
)
def test_maps_from_a_converted_file_equal_the_official_ones(golden, prefix, size, backbone, neck):
    expected = load(golden)
    model = torch.nn.ModuleDict(
        dict(backbone=MODELS.build(dict(type="ConvViT", arch=NARROW, **backbone)))
    ).eval()
    if neck:
        model["neck"] = MODELS.build(neck).eval()
    # The weights under the names of a detector or segmenter of the official code.
    weights = {n: torch.empty(shape) for n, shape in expected["shapes_of_weights"].items()}
    set_weights(weights)
    converted, left_out = convert({prefix + name: value for name, value in weights.items()})
    assert not left_out
    missing, unexpected = model.load_state_dict(converted, strict=False)
    assert not unexpected
    assert all(".bn." in name for name in missing)  # buffers, which the golden file does not list

    with torch.no_grad():
        maps = model["backbone"](images(1, size))
        maps = model["neck"](maps) if neck else maps

    assert [list(m.shape) for m in maps] == expected["shapes"]
    for i, summary in enumerate(expected["maps"]):
        assert tensor_summary(f"map {i}", maps[i]) == close_to_summary(summary)
