"""Our classifiers against the official fine-tuning models (record_classification.py)."""

import pytest
import torch
from common import images, load, set_weights
from mmengine.registry import DefaultScope

from mmmim.checkpoints import to_mmmim
from mmmim.registry import MODELS

FC_NORM = dict(type="mmmim.NormedMean", channels=64)
MODELS_BY_NAME = {
    "mae": (
        dict(
            type="mmmim.ViT",
            arch=dict(embed_dims=64, depth=12, num_heads=4),
            final_norm=False,
            train_positions=True,
        ),
        FC_NORM,
        64,
    ),
    "convmae": (
        dict(
            type="mmmim.ConvViT",
            arch=dict(embed_dims=(16, 32, 64), depths=(2, 2, 11), num_heads=4),
            out_indices=(2,),
            train_positions=True,
        ),
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


def classifier(name: str):
    backbone, neck, width = MODELS_BY_NAME[name]
    head = dict(type="LinearClsHead", num_classes=10, in_channels=width)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return MODELS.build(
            dict(type="mmpretrain.ImageClassifier", backbone=backbone, neck=neck, head=head)
        )


@pytest.mark.parametrize("name", MODELS_BY_NAME)
def test_logits_from_a_converted_file_equal_the_official_ones(name):
    expected = load("classification")["models"][name]
    model = classifier(name).eval()
    weights = {n: torch.empty(shape) for n, shape in expected["shapes"].items()}
    set_weights(weights)
    frozen = {n: p.data for n, p in model.backbone.named_parameters() if not p.requires_grad}
    converted, left_out = to_mmmim({**weights, **frozen})
    assert not left_out
    model.load_state_dict(converted)
    with torch.no_grad():
        logits = model(images(2, 224))
        logits = model.head((logits[-1],)) if isinstance(logits, tuple) else logits
    theirs = torch.tensor(expected["logits"])
    assert torch.allclose(logits, theirs, atol=1e-5 * theirs.abs().max())
