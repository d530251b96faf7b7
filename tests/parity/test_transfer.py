"""Our ViT as backbone of ViTDet and UperNet against the official code (record_*.py)."""

import re

import torch

from mmmim.checkpoints.formats import FORMATS
from mmmim.registry import MODELS
from tests.parity.common import close_to_summary, images, load, set_weights, tensor_summary

NARROW = dict(embed_dims=96, depth=4, num_heads=3)


def test_vitdet_pyramid_at_1024_pixels_equals_detectron2():
    golden = load("vitdet")
    backbone = MODELS.build(
        dict(
            type="ViT",
            arch=NARROW,
            with_cls_token=False,
            final_norm=False,
            window_size=14,
            global_blocks=(1, 3),
            relative_position="decomposed",
        )
    ).eval()
    neck = MODELS.build(dict(type="SimpleFeaturePyramid", in_channels=96, out_channels=32))
    ours = {f"backbone.{n}": p for n, p in backbone.named_parameters()}
    ours |= {f"neck.{n}": p for n, p in neck.named_parameters()}
    to_ours = FORMATS["vitdet"].rules
    set_weights({name: ours.pop(_rename(name, to_ours)) for name in golden["keys"]})
    assert not ours, "every parameter has its counterpart"

    with torch.no_grad():
        levels = neck(backbone(images(1, 1024)))

    for level, (name, expected) in zip(levels, golden["levels"].items(), strict=True):
        assert list(level.shape) == golden["shapes"][name]
        assert tensor_summary(name, level) == close_to_summary(expected), name


def test_upernet_maps_at_512_pixels_equal_mae_segmentation():
    golden = load("mae_segmentation")
    backbone = MODELS.build(
        dict(
            type="ViT",
            arch=NARROW,
            img_size=512,
            out_indices=(0, 1, 2, 3),
            final_norm=False,
            relative_position="bias",
            relative_position_size=512,
            layer_scale=1.0,
        )
    ).eval()
    from mmseg.models.necks import Feature2Pyramid

    neck = Feature2Pyramid(96, norm_cfg=dict(type="BN")).eval()
    ours = dict(backbone.named_parameters())
    ours |= {f"neck.{n}": p for n, p in neck.named_parameters()}
    to_ours = (
        (r"(blocks\.\d+)\.gamma_([12])", r"\1.ls\2.gamma"),
        (r"(.*)relative_position_bias_table", r"\1relative_position.table"),
        (r"fpn1\.(.*)", r"neck.upsample_4x.\1"),
        (r"fpn2\.(.*)", r"neck.upsample_2x.\1"),
        (r"(.*)", r"\1"),
    )
    set_weights({name: ours.pop(_rename(name, to_ours)) for name in golden["keys"]})
    assert not ours, "every parameter has its counterpart"

    with torch.no_grad():
        maps = neck(backbone(images(1, 512)))

    for i, (shape, expected) in enumerate(zip(golden["shapes"], golden["maps"], strict=True)):
        assert list(maps[i].shape) == shape
        assert tensor_summary(f"map {i}", maps[i]) == close_to_summary(expected)


def _rename(name: str, rules) -> str:
    for pattern, replacement in rules:
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    raise KeyError(name)
