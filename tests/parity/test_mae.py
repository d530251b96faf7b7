"""Our MAE and PixMIM against the official code: same weights, same draws (record_mae.py)."""

import pytest
import torch
from common import SEED, gradient_summary, images, load, set_weights, tensor_summary

from mmmim.registry import MODELS
from mmmim.targets import LowPassFilter
from mmmim.targets.low_frequency import official_disc

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
HOST = dict(type="MAE", backbone=dict(type="ViT", arch="base"))


def official_name(name: str) -> str:
    """Our parameter name -> the official one."""
    name = name.removeprefix("backbone.").replace("decoder.mask_token", "mask_token")
    return name.replace("decoder.", "decoder_")


@pytest.mark.parametrize(
    ("config", "golden"),
    [(HOST, "mae_vit_base"), (dict(type="PixMIM", host=HOST), "pixmim_vit_base")],
)
def test_loss_and_every_gradient_equal_the_official_ones(config, golden):
    expected = load(golden)
    model = MODELS.build(config)
    trained = {official_name(n): p for n, p in model.named_parameters() if p.requires_grad}
    set_weights(trained)

    torch.manual_seed(SEED)
    loss = model(images(2, 224), mode="loss")["loss"]
    loss.backward()
    gradients = gradient_summary(trained)

    assert loss.item() == pytest.approx(expected["loss"], rel=1e-5)
    assert gradients.keys() == expected["gradients"].keys()
    for name, (norm, product) in expected["gradients"].items():
        assert gradients[name][0] == pytest.approx(norm, rel=1e-5), name
        # A product with a random direction is of the size of the norm.
        assert gradients[name][1] == pytest.approx(product, abs=1e-5 * norm), name


def test_low_pass_target_equals_mmselfsup_errata_included():
    expected = load("pixmim_vit_base")
    batch = images(2, 224)
    filtered = LowPassFilter(224, 40, MEAN, STD)(batch)
    assert tensor_summary("target", filtered) == pytest.approx(expected["target"], rel=1e-5)
    assert int(official_disc(224, 40).sum()) == expected["kept_bins"]
