"""Our MAE and PixMIM against the official code: same weights, same draws (record_mae.py)."""

import pytest
import torch

from mmmim.methods.pixmim import LowPassFilter, official_disc
from mmmim.registry import MODELS
from tests.parity.common import SEED, assert_equal_step, images, load, set_weights, tensor_summary

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
HOST = dict(type="MAE", backbone=dict(type="ViT", arch="base"))


def official_name(name: str) -> str:
    """Our parameter name -> the official one."""
    name = name.removeprefix("backbone.").replace("decoder.mask_token", "mask_token")
    return name.replace("decoder.", "decoder_")


@pytest.mark.parametrize(
    ("config", "golden"),
    [(HOST, "mae_vit_base"), (dict(type="PixMIM", method=HOST), "pixmim_vit_base")],
)
def test_loss_and_every_gradient_equal_the_official_ones(config, golden):
    expected = load(golden)
    model = MODELS.build(config)
    trained = {official_name(n): p for n, p in model.named_parameters() if p.requires_grad}
    set_weights(trained)

    torch.manual_seed(SEED)
    loss = model(images(2, 224), mode="loss")["loss"]
    loss.backward()
    assert_equal_step(expected, loss, trained)


def test_lsmaes_loss_and_every_gradient_equal_the_official_ones():
    expected = load("lsmae_vit_base")
    model = MODELS.build(
        dict(
            type="LSMAE",
            backbone=dict(type="ViT", arch="base", img_size=448),
            decoder=dict(embed_dims=384, depth=8, num_heads=12),
        )
    )
    trained = {official_name(n): p for n, p in model.named_parameters() if p.requires_grad}
    set_weights(trained)

    torch.manual_seed(SEED)
    loss = model(images(2, 448), mode="loss")["loss"]
    loss.backward()
    assert_equal_step(expected, loss, trained)


def test_low_pass_target_equals_mmselfsup_errata_included():
    expected = load("pixmim_vit_base")
    batch = images(2, 224)
    filtered = LowPassFilter(224, 40, MEAN, STD)(batch)
    assert tensor_summary("target", filtered) == pytest.approx(expected["target"], rel=1e-5)
    assert int(official_disc(224, 40).sum()) == expected["kept_bins"]
