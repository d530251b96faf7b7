"""Conversion of official ConvMAE files of pretraining, fine-tuning, detection and segmentation."""

from pathlib import Path

import pytest
import torch
from mmengine import Config

from mmmim.checkpoints import convert, detect_format, export, load_backbone, write_checkpoint
from mmmim.checkpoints.load import CheckpointMismatch
from mmmim.checkpoints.verify import verify_conversion
from mmmim.cli import convert as convert_command
from mmmim.cli import main
from mmmim.engine.distribution import replace_sync_bn
from mmmim.registry import MODELS

CONFIGS = Path(__file__).parents[2] / "configs"
ARCH = dict(embed_dims=(8, 16, 32), depths=(1, 1, 2), num_heads=2)
BACKBONE = dict(type="ConvViT", arch=ARCH, img_size=64)
CONVMAE = dict(type="ConvMAE", backbone=BACKBONE, decoder=dict(embed_dims=16, depth=1, num_heads=2))


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return MODELS.build(CONVMAE).state_dict()


def official(weights):
    """Our ConvMAE weights as the official code saves them."""
    renamed = {}
    for name, value in weights.items():
        pointwise = "blocks1" in name or "blocks2" in name
        if pointwise and value.ndim == 2:
            value = value[:, :, None, None]
        name = name.removeprefix("backbone.").replace("decoder.mask_token", "mask_token")
        name = name.replace("fusion.norm", "norm").replace("decoder.", "decoder_")
        for stage in ("1", "2"):
            name = name.replace(f"fusion.stage{stage}", f"stage{stage}_output_decode")
        renamed[name] = value
    return renamed


def test_a_pretraining_file_loads_strictly_decoder_included(weights):
    state = official(weights)
    assert state["blocks1.0.mlp.fc1.weight"].shape == (32, 8, 1, 1)
    assert detect_format(state) == "convmae"
    ours, left_out = convert(state)
    assert not left_out
    MODELS.build(CONVMAE).load_state_dict(ours)
    assert all(torch.equal(ours[k], weights[k]) for k in weights)
    assert "not run" in verify_conversion("convmae", state, ours)


def test_a_fine_tuned_file_gives_its_encoder(weights):
    state = {
        k: v for k, v in official(weights).items() if not k.startswith(("decoder", "stage", "mask"))
    }
    state |= {"fc_norm.weight": torch.ones(32), "head.weight": torch.zeros(10, 32)}
    ours, left_out = convert(state)
    assert not left_out
    assert {"neck.norm.weight", "head.fc.weight"} <= set(ours)
    assert {k for k in weights if k.startswith("backbone.")} <= set(ours)


def test_the_official_names_and_back_are_the_same(weights):
    names, left_out = export(weights, "convmae")
    assert all(not name.startswith("backbone.") for name in left_out)
    assert names["blocks2.0.conv1.weight"].shape == (16, 16, 1, 1)
    ours, _ = convert(names)
    assert all(torch.equal(ours[k], weights[k]) for k in ours)
    assert len(ours) + len(left_out) == len(weights)


@pytest.mark.parametrize("form", ["ours", "official"])
def test_a_transfer_backbone_starts_from_pretraining(tmp_path, weights, form):
    path = tmp_path / "convmae.pth"
    write_checkpoint(path, weights if form == "ours" else official(weights), {})
    config = dict(
        BACKBONE,
        img_size=128,
        window_size=3,
        global_blocks=(1,),
        relative_position="shared",
        init_cfg=dict(type="mmmim.PretrainedBackbone", checkpoint=str(path)),
    )
    backbone = MODELS.build(config)
    backbone.init_weights()
    state = backbone.state_dict()
    for name in ("blocks1.0.conv1.weight", "blocks3.1.attn.qkv.weight", "patch_embed4.bias"):
        assert torch.equal(state[name], weights[f"backbone.{name}"])
    report = load_backbone(backbone, str(path))
    assert report.resized == ["pos_embed"]
    assert report.new == ["global_position.table", "window_position.table"]
    assert not report.unused


def test_tables_of_positions_are_resized_to_another_crop(tmp_path):
    """A segmenter at 128 pixels starts from one at 64, with smaller bias tables."""
    config = dict(BACKBONE, relative_position="bias", layer_scale=1.0)
    small = MODELS.build(dict(config, relative_position_size=64))
    for block in small.blocks3:
        torch.nn.init.ones_(block.attn.relative_position.table)
    path = tmp_path / "segmenter.pth"
    write_checkpoint(path, {f"backbone.{k}": v for k, v in small.state_dict().items()}, {})
    large = MODELS.build(dict(config, img_size=128, relative_position_size=128))
    report = load_backbone(large, str(path))
    tables = [f"blocks3.{i}.attn.relative_position.table" for i in range(2)]
    assert sorted(report.resized) == [*tables, "pos_embed"]
    assert torch.allclose(large.state_dict()[tables[0]], torch.ones(15 * 15, 2), atol=1e-5)


MAE = ("pos_embed", "patch_embed.proj.weight", "blocks.0.norm1.weight")
MIXMIM = ("absolute_pos_embed", "patch_embed.proj.weight", "layers.0.blocks.0.norm1.weight")


@pytest.mark.parametrize(
    ("names", "to", "fitting"),
    [(MAE, "convmae", "timm"), (MIXMIM, "timm", "mixmim, mmpretrain-mixmim")],
)
def test_an_export_under_names_of_another_kind_is_refused(tmp_path, monkeypatch, names, to, fitting):
    monkeypatch.setattr(convert_command, "verify_conversion", lambda *args: "not run")
    torch.save(dict.fromkeys(names, torch.zeros(1)), tmp_path / "source.pth")
    files = [str(tmp_path / "source.pth"), str(tmp_path / "target.pth")]
    with pytest.raises(ValueError, match=f"use one of mmmim, backbone, {fitting}"):
        main("convert", [*files, "--to", to])
    assert not (tmp_path / "target.pth").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(embed_dims=(8, 16, 64)), r"another shape: pos_embed: \(1, 16, 32\) for \(1, 16, 64\)"),
        (dict(depths=(1, 2, 2)), r"Missing: blocks2\.1\.norm1\.weight"),
        (dict(patch_sizes=(2, 2, 2)), r"patch_embed1\.proj\.weight: \(8, 3, 4, 4\) for \(8, 3, 2, 2\)"),
    ],
)
def test_a_checkpoint_of_another_size_is_refused(tmp_path, weights, change, message):
    path = tmp_path / "convmae.pth"
    write_checkpoint(path, weights, {})
    with pytest.raises(CheckpointMismatch, match=message):
        load_backbone(MODELS.build(dict(BACKBONE, arch={**ARCH, **change})), str(path))


# detectron2's names of the layers of Mask R-CNN's heads (modeling/proposal_generator/rpn.py,
# modeling/roi_heads), with two RPN convolutions, a 4conv1fc box head, and norms where `normed`.
PLAIN_HEADS = [
    *(f"proposal_generator.rpn_head.conv.conv{i}" for i in range(2)),
    "proposal_generator.rpn_head.objectness_logits",
    "proposal_generator.rpn_head.anchor_deltas",
    "roi_heads.box_head.fc1",
    "roi_heads.box_predictor.cls_score",
    "roi_heads.box_predictor.bbox_pred",
    "roi_heads.mask_head.deconv",
    "roi_heads.mask_head.predictor",
]
NORMED_HEADS = [
    *(f"roi_heads.box_head.conv{i}" for i in range(1, 5)),
    *(f"roi_heads.mask_head.mask_fcn{i}" for i in range(1, 5)),
]
FPN_LAYERS = [f"backbone.fpn_{kind}{i}" for kind in ("lateral", "output") for i in range(2, 6)]
BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def names_of_layers(normed: list[str], norm: tuple[str, ...]) -> list[str]:
    names = [f"{layer}.{part}" for layer in PLAIN_HEADS for part in ("weight", "bias")]
    for layer in normed:
        names += [f"{layer}.weight", *(f"{layer}.norm.{part}" for part in norm)]
    return names


def encoder_names() -> list[str]:
    backbone = MODELS.build(dict(type="ConvViT", arch="base", img_size=224))
    return list(backbone.state_dict())


@pytest.mark.parametrize(
    ("config", "foreign"),
    [
        (
            "detection/convvit-b_mask-rcnn-fpn_coco.py",
            lambda: [
                *(f"backbone.bottom_up.{n}" for n in encoder_names()),
                "backbone.bottom_up.windowed_rel_pos_bias.relative_position_bias_table",
                "backbone.bottom_up.global_rel_pos_bias.relative_position_bias_table",
                *names_of_layers([*NORMED_HEADS, *FPN_LAYERS], BATCH_NORM),
            ],
        ),
        (
            "detection/convvit-b_mask-rcnn_coco.py",
            lambda: [
                *(f"backbone.net.{n}" for n in encoder_names()),
                *(f"backbone.net.blocks3.{i}.attn.rel_pos_{x}" for i in range(11) for x in "hw"),
                *(f"backbone.{n}" for n in pyramid_names()),
                *names_of_layers(NORMED_HEADS, ("weight", "bias")),
            ],
        ),
        (
            "segmentation/convvit-b_upernet_ade20k.py",
            lambda: [
                *(f"backbone.{n}" for n in encoder_names()),
                *(
                    f"backbone.blocks3.{i}.{n}"
                    for i in range(11)
                    for n in ("gamma_1", "gamma_2", "attn.relative_position_bias_table")
                ),
                *(f"backbone.fpn.0.{n}" for n in ("weight", "bias")),
                *(f"backbone.fpn.1.{n}" for n in BATCH_NORM),
                "decode_head.conv_seg.weight",
                "auxiliary_head.conv_seg.bias",
            ],
        ),
    ],
)
def test_every_weight_of_a_fine_tuned_detector_or_segmenter_has_its_place(config, foreign, monkeypatch):
    for name in ("xavier_uniform_", "kaiming_uniform_", "trunc_normal_", "normal_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *args, **kwargs: tensor)  # for speed
    model = Config.fromfile(CONFIGS / config).model
    replace_sync_bn(model)
    expected = set(MODELS.build(model).state_dict())
    ours, left_out = convert(dict.fromkeys(foreign(), torch.zeros(1)))
    assert not left_out
    assert set(ours) <= expected
    missing = expected - set(ours)
    assert all(name.startswith(("decode_head.", "auxiliary_head.")) for name in missing)


def pyramid_names() -> list[str]:
    return list(MODELS.build(dict(type="SimpleFeaturePyramid", in_channels=16)).state_dict())
