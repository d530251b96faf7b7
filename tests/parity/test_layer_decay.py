"""Each parameter's lr scale and weight decay against the official code (record_layer_decay.py).

Layer decay and exemptions are read from the configs, so a recipe that lacks one fails here.
"""

import re
from pathlib import Path

import pytest
from mmengine import Config
from torch import nn

from mmmim.checkpoints import FORMATS
from mmmim.engine import LayerDecayOptimWrapperConstructor
from mmmim.registry import MODELS
from tests.parity.common import load
from tests.parity.test_classification import classifier

CONFIGS = Path(__file__).parents[2] / "configs"
NARROW_VIT = dict(embed_dims=96, depth=4, num_heads=3)
NARROW_CONV_VIT = dict(embed_dims=(16, 24, 48), depths=(2, 2, 11), num_heads=12)


def groups_of(model: nn.Module, config: str) -> dict[str, tuple[float, float]]:
    """Name -> (lr scale, weight decay) in the optimizer of `config`, at a weight decay of 0.05."""
    rules = Config.fromfile(CONFIGS / config).optim_wrapper.paramwise_cfg
    optimizer = dict(type="AdamW", lr=1.0, weight_decay=0.05)
    wrapper = LayerDecayOptimWrapperConstructor(dict(optimizer=optimizer), rules)(model)
    names = {id(p): name for name, p in model.named_parameters()}
    found = [
        (names[id(p)], (group["lr"], group["weight_decay"]))
        for group in wrapper.optimizer.param_groups
        for p in group["params"]
    ]
    assert len(found) == len(dict(found))  # none twice
    return dict(found)


def renamed(names, rules) -> dict[str, str]:
    """Official name -> ours."""
    ours = {}
    for name in names:
        pattern, replacement = next(rule for rule in rules if re.fullmatch(rule[0], name))
        ours[name] = re.fullmatch(pattern, name).expand(replacement)
    return ours


@pytest.mark.parametrize(
    ("official", "model", "depth", "config"),
    [
        ("mae", "mae", 12, "vit-b_in1k"),
        ("lsmae", "mae", 12, "vit-b_in1k"),
        ("mae_large", "mae", 24, "vit-l_in1k"),
        ("mae_large", "mae", 24, "maskalign_vit-l_in1k"),
        ("mae_huge", "mae", 32, "vit-h_in1k"),
        ("maskalign", "mae", 12, "maskalign_vit-b_in1k"),
        ("convmae", "convmae", None, "convvit-b_in1k"),
        ("mixmim", "mixmim", None, "mixmim-b_in1k"),
        ("mixmim", "mixmim", None, "mixmim-b-384_in1k"),
    ],
)
def test_fine_tuning_groups_are_the_official_ones(official, model, depth, config):
    expected = load("layer_decay")["groups"][official]
    groups = groups_of(classifier(model, depth), f"classification/{config}.py")
    ours = renamed(expected, FORMATS[model].rules)
    assert set(ours.values()) == set(groups)  # none missing
    for name, (scale, weight_decay) in expected.items():
        assert groups[ours[name]] == (pytest.approx(scale), weight_decay), name


def mae_segmenter() -> nn.Module:
    from mmseg.models.necks import Feature2Pyramid

    backbone = dict(
        type="ViT",
        arch=NARROW_VIT,
        final_norm=False,
        learnable_pos_embed=True,
        relative_position="bias",
        layer_scale=1.0,
    )
    neck = Feature2Pyramid(96, norm_cfg=dict(type="BN"))
    return nn.ModuleDict(dict(backbone=MODELS.build(backbone), neck=neck))


def convmae_segmenter() -> nn.Module:
    backbone = dict(
        type="ConvViT",
        arch=NARROW_CONV_VIT,
        out_indices=(0, 1, 2),
        learnable_pos_embed=True,
        relative_position="bias",
        layer_scale=1.0,
    )
    neck = dict(type="AppendDownsampled", in_channels=48, norm_cfg=dict(type="BN"))
    return nn.ModuleDict(dict(backbone=MODELS.build(backbone), neck=MODELS.build(neck)))


MAE_SEGMENTER_RULES = (
    (r"backbone\.(blocks\.\d+)\.gamma_([12])", r"backbone.\1.ls\2.gamma"),
    (r"(backbone\..*)relative_position_bias_table", r"\1relative_position.table"),
    (r"backbone\.fpn1\.(.*)", r"neck.upsample_4x.\1"),
    (r"backbone\.fpn2\.(.*)", r"neck.upsample_2x.\1"),
    (r"(.*)", r"\1"),
)


@pytest.mark.parametrize(
    ("official", "build", "rules", "config"),
    [
        ("mae_segmentation", mae_segmenter, MAE_SEGMENTER_RULES, "vit-b"),
        (
            "convmae_segmentation",
            convmae_segmenter,
            FORMATS["convmae-upernet"].rules,
            "convvit-b",
        ),
    ],
)
def test_segmentation_groups_are_the_official_ones(official, build, rules, config):
    expected = load("layer_decay")["groups"][official]
    groups = groups_of(build().requires_grad_(True), f"segmentation/{config}_upernet_ade20k.py")
    ours = renamed(expected, rules)
    assert set(ours.values()) == set(groups)
    for name, (scale, weight_decay) in expected.items():
        assert groups[ours[name]] == (pytest.approx(scale), weight_decay), name


def vitdet() -> nn.Module:
    backbone = dict(
        type="ViT",
        arch=NARROW_VIT,
        with_cls_token=False,
        final_norm=False,
        learnable_pos_embed=True,
        window_size=14,
        global_blocks=(1, 3),
        relative_position="decomposed",
    )
    neck = dict(type="SimpleFeaturePyramid", in_channels=96, out_channels=32)
    return nn.ModuleDict(dict(backbone=MODELS.build(backbone), neck=MODELS.build(neck)))


def convmae_vitdet() -> nn.Module:
    backbone = dict(
        type="ConvViT",
        arch=NARROW_CONV_VIT,
        out_indices=(2,),
        learnable_pos_embed=True,
        window_size=14,
        global_blocks=(1, 4, 7, 10),
        relative_position="decomposed",
    )
    return nn.ModuleDict(dict(backbone=MODELS.build(backbone)))


@pytest.mark.parametrize(
    ("official", "build", "rules", "config"),
    [
        ("vitdet", vitdet, FORMATS["vitdet"].rules, "vit-b_mask-rcnn_coco"),
        (
            "convmae_vitdet",
            convmae_vitdet,
            FORMATS["convmae-vitdet"].rules,
            "convvit-b_mask-rcnn_coco",
        ),
    ],
)
def test_detection_rates_are_the_official_ones(official, build, rules, config):
    expected = load("layer_decay")["rates"][official]
    groups = groups_of(build(), f"detection/{config}.py")
    ours = renamed(expected, rules)
    assert set(ours.values()) == set(groups)
    if official == "convmae_vitdet":  # its rule misses pos_embed, an erratum that we correct
        assert expected.pop("backbone.net.pos_embed") == 1.0
        assert groups["backbone.pos_embed"][0] == pytest.approx(0.8**12)
    for name, scale in expected.items():
        assert groups[ours[name]][0] == pytest.approx(scale), name
