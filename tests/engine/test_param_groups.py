import logging
from argparse import Namespace

import pytest
import torch
from mmengine._strategy import FSDPStrategy
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from torch import nn

from mmmim.engine import AmpOptimWrapper, LayerDecayOptimWrapperConstructor, fsdp
from mmmim.engine.amp import MixedOptimWrapper
from mmmim.engine.fsdp import BlockFSDPStrategy
from mmmim.registry import MODELS


class Detector(nn.Module):
    """A backbone and a neck."""

    def __init__(self):
        super().__init__()
        self.backbone = MODELS.build(
            dict(
                type="ViT",
                arch=dict(embed_dims=32, depth=3, num_heads=2),
                img_size=32,
                patch_size=8,
                learnable_pos_embed=True,
            )
        )
        self.neck = nn.Conv2d(32, 8, 1)


def constructor(**rules):
    MMLogger.get_instance("mmmim-tests", log_level=logging.ERROR)
    config = dict(optimizer=dict(type="AdamW", lr=1.0, weight_decay=0.1))
    return LayerDecayOptimWrapperConstructor(config, rules)


def test_every_parameter_is_in_one_group_at_its_rate():
    model = Detector()
    wrapper = constructor(layer_decay=0.5, flat_decay_mult=0.0)(model)
    groups = wrapper.optimizer.param_groups
    owner = {id(p): g for g in groups for p in g["params"]}
    assert len(owner) == sum(len(g["params"]) for g in groups) == len(list(model.parameters()))
    rate = {n: owner[id(p)]["lr"] for n, p in model.named_parameters()}
    assert rate["neck.weight"] == rate["backbone.norm.weight"] == 1.0
    assert rate["backbone.blocks.2.mlp.fc1.weight"] == 0.5
    assert rate["backbone.blocks.0.attn.qkv.weight"] == 0.125
    assert rate["backbone.pos_embed"] == rate["backbone.cls_token"] == 0.0625


def test_frozen_parameters_are_left_out():
    model = Detector()
    model.backbone.pos_embed.requires_grad_(False)
    names = {plan.name for plan in constructor().plan(model)}
    assert "backbone.pos_embed" not in names


def test_weight_decay_as_mae_and_as_detectron2():
    def decays(**rules):
        return {p.name: p.weight_decay for p in constructor(**rules).plan(Detector())}

    mae = decays(flat_decay_mult=0.0)
    assert mae["backbone.blocks.0.norm1.weight"] == mae["neck.bias"] == 0
    assert mae["backbone.cls_token"] == 0.1  # only 1-D parameters are exempt
    detectron2 = decays(norm_decay_mult=0.0, custom_keys={"pos_embed": 0.0})
    assert detectron2["backbone.blocks.0.norm1.bias"] == detectron2["backbone.pos_embed"] == 0
    assert detectron2["neck.bias"] == 0.1


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="layer_decay_rate"):
        constructor(layer_decay_rate=0.7)


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests machines without a GPU")
def test_mixed_precision_falls_back_to_float32_on_a_cpu():
    layer = nn.Linear(2, 2)
    wrapper = AmpOptimWrapper(
        dtype="float16", loss_scale="dynamic", optimizer=torch.optim.SGD(layer.parameters(), lr=1.0)
    )
    with wrapper.optim_context(layer):
        output = layer(torch.ones(1, 2))
    assert output.dtype == torch.float32
    before = layer.weight.detach().clone()
    wrapper.update_params(output.sum())
    assert not torch.equal(layer.weight, before)


def test_float16_goes_on_from_bfloat16(monkeypatch):
    monkeypatch.setattr(amp_optimizer_wrapper, "is_cuda_available", lambda: True)
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=1.0)
    before, after = (
        MixedOptimWrapper(loss_scale=dict(enabled=False), optimizer=optimizer) for _ in "ab"
    )
    after.loss_scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    after.load_state_dict(before.state_dict())
    assert after.loss_scaler.state_dict()["scale"] == 8.0
    scaled = after.state_dict()
    scaled["loss_scaler"]["scale"] = 32.0
    after.load_state_dict(scaled)
    assert after.loss_scaler.state_dict()["scale"] == 32.0


def test_shared_out_weights_are_not_trained_in_float16(monkeypatch):
    wrapper = Namespace(loss_scaler=torch.amp.GradScaler("cpu"))
    monkeypatch.setattr(FSDPStrategy, "build_optim_wrapper", lambda *_: wrapper)
    strategy = BlockFSDPStrategy.__new__(BlockFSDPStrategy)
    with pytest.raises(ValueError, match=r"bfloat16 or float32, got float16"):
        strategy.build_optim_wrapper(dict())
    wrapper.loss_scaler = torch.amp.GradScaler("cpu", enabled=False)
    assert strategy.build_optim_wrapper(dict()) is wrapper


def test_a_process_that_resumes_holds_its_share_of_the_moments_alone(monkeypatch):
    monkeypatch.setattr(fsdp, "all_gather_object", lambda mine: [[5], mine])
    monkeypatch.setattr(fsdp, "get_rank", lambda: 1)
    share = nn.Parameter(torch.zeros(3))
    strategy = BlockFSDPStrategy.__new__(BlockFSDPStrategy)
    strategy.optim_wrapper = OptimWrapper(torch.optim.SGD([share], lr=1.0, momentum=0.9))
    whole = {"momentum_buffer": torch.arange(8.0).view(2, 4)}
    strategy.load_optim_state_dict({**strategy.optim_wrapper.state_dict(), "state": {0: whole}})
    moment = strategy.optim_wrapper.optimizer.state[share]["momentum_buffer"]
    assert moment.tolist() == [5, 6, 7]
    assert moment.untyped_storage().nbytes() == 3 * 4


def test_every_kind_of_batch_norm_is_exempt():
    from mmcv.cnn import build_norm_layer

    model = nn.Module()
    model.backbone = MODELS.build(dict(type="ViT", arch=dict(embed_dims=16, depth=1, num_heads=1)))
    model.neck = build_norm_layer(dict(type="SyncBN"), 8)[1]
    constructor = LayerDecayOptimWrapperConstructor(
        dict(optimizer=dict(type="AdamW", lr=1.0, weight_decay=0.1)), dict(norm_decay_mult=0.0)
    )
    decays = {plan.name: plan.weight_decay for plan in constructor.plan(model)}
    assert decays["neck.weight"] == decays["neck.bias"] == 0


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "SGD"])
def test_a_fused_optimiser_updates_as_the_plain_one(kind):
    MMLogger.get_instance("mmmim-tests", log_level=logging.ERROR)
    weights = []
    for fused in (True, False):
        torch.manual_seed(0)
        model = Detector()
        eps = {} if kind == "SGD" else dict(eps=1e-2)  # else rounding decides the sign of an update
        plain = {} if fused else dict(fused=False)  # fused is the default
        config = dict(optimizer=dict(type=kind, lr=0.01, weight_decay=0.1, **eps, **plain))
        wrapper = LayerDecayOptimWrapperConstructor(config, dict(layer_decay=0.5))(model)
        assert wrapper.optimizer.defaults["fused"] is fused
        for _ in range(3):
            loss = model.neck(model.backbone(torch.randn(2, 3, 32, 32))[-1]).square().sum()
            wrapper.update_params(loss)
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.allclose(*weights, rtol=1e-4, atol=1e-5)
