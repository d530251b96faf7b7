"""Our classifiers against the official fine-tuning models (record_classification.py)."""

import copy

import pytest
import torch
from mmengine.registry import DefaultScope

from mmmim.checkpoints import convert
from mmmim.registry import MODELS
from tests.parity.common import images, load, set_weights

FC_NORM = dict(type="mmmim.GlobalPoolNorm", channels=64)
VIT = dict(type="mmmim.ClassTokenViT", arch=dict(embed_dims=64, depth=12, num_heads=4))
CONV_VIT = dict(
    type="mmmim.ConvViT",
    arch=dict(embed_dims=(16, 32, 64), depths=(2, 2, 11), num_heads=4),
    out_indices=(2,),
)
# Backbone, neck and width of the head's input, as in the configs.
MODELS_BY_NAME = {
    "mae": (
        dict(
            type="mmmim.ViT",
            arch=dict(embed_dims=64, depth=12, num_heads=4),
            final_norm=False,
            learnable_pos_embed=True,
        ),
        FC_NORM,
        64,
    ),
    "convmae": (
        dict(CONV_VIT, learnable_pos_embed=True),
        FC_NORM,
        64,
    ),
    "mixmim": (
        dict(
            type="mmmim.MixMIMTransformer",
            arch=dict(embed_dims=16, depths=(2, 2, 18, 2), num_heads=(1, 2, 4, 8)),
        ),
        dict(type="GlobalAveragePooling"),
        128,
    ),
}
PROBES = {
    "mae_linear": (
        dict(type="mmmim.FrozenBackbone", backbone=VIT),
        dict(type="ClsBatchNormNeck", input_features=64),
        64,
    ),
    "maskalign_linear": (
        dict(type="mmmim.FrozenBackbone", backbone=dict(VIT, final_norm=False)),
        dict(type="mmmim.ProbeClsToken", channels=64),
        64,
    ),
    "convmae_linear": (
        dict(type="mmmim.FrozenBackbone", backbone=CONV_VIT),
        dict(type="mmmim.ProbeGlobalPool", channels=64),
        64,
    ),
}


def classifier(name: str, depth: int | None = None):
    backbone, neck, width = copy.deepcopy((MODELS_BY_NAME | PROBES)[name])
    if depth:
        backbone["arch"]["depth"] = depth
    head = dict(type="LinearClsHead", num_classes=10, in_channels=width)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return MODELS.build(
            dict(type="mmpretrain.ImageClassifier", backbone=backbone, neck=neck, head=head)
        )


def load_official(model: torch.nn.Module, expected: dict) -> None:
    """Load the official model's weights through the converter."""
    weights = {n: torch.empty(shape) for n, shape in expected["shapes"].items()}
    set_weights(weights)
    positions = {n: p for n, p in model.backbone.state_dict().items() if n.endswith("pos_embed")}
    converted, left_out = convert({**positions, **weights})
    assert not left_out
    missing, unexpected = model.load_state_dict(converted, strict=False)
    assert not unexpected
    assert all("batch_norm" in n or "running" in n or "tracked" in n for n in missing)


@torch.no_grad()
def assert_equal_logits(model: torch.nn.Module, expected: dict) -> None:
    theirs = torch.tensor(expected["logits"])
    logits = model(images(len(theirs), 224))
    assert torch.allclose(logits, theirs, atol=1e-5 * theirs.abs().max())


@pytest.mark.parametrize("name", MODELS_BY_NAME)
def test_fine_tuning_logits_equal_the_official_ones(name):
    expected = load("classification")["models"][name]
    model = classifier(name).eval()
    load_official(model, expected)
    assert_equal_logits(model, expected)


@pytest.mark.parametrize("name", PROBES)
def test_probing_logits_equal_the_official_ones(name):
    expected = load("classification")["models"][name]
    model = classifier(name)
    load_official(model, expected)
    assert_equal_logits(model.train(), expected)  # BatchNorm sees the batch, the backbone does not
