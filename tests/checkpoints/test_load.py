import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch

from mmmim.checkpoints import (
    convert,
    detect_format,
    load_backbone,
    read_checkpoint,
    write_checkpoint,
)
from mmmim.checkpoints.formats import FORMATS, export
from mmmim.checkpoints.load import CheckpointMismatch
from mmmim.checkpoints.verify import ParityError, verify_conversion
from mmmim.registry import MODELS

ARCH = dict(embed_dims=64, depth=2, num_heads=1)
BACKBONE = dict(type="ViT", arch=ARCH, img_size=32, patch_size=8)
MAE = dict(type="MAE", backbone=BACKBONE, decoder=dict(embed_dims=16, depth=1, num_heads=2))


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return MODELS.build(MAE).state_dict()


def official(weights):
    """Our MAE weights under the official names."""
    renamed = {}
    for name, value in weights.items():
        name = name.removeprefix("backbone.").replace("decoder.mask_token", "mask_token")
        renamed[name.replace("decoder.", "decoder_")] = value
    return renamed


def mmselfsup(weights):
    """Our MAE weights under mmselfsup's and mmpretrain's names."""
    inside = {
        "norm1": "ln1", "norm2": "ln2", "mlp.fc1": "ffn.layers.0.0", "mlp.fc2": "ffn.layers.1",
    }  # fmt: skip
    renamed = {"target_generator.low_pass_filter": torch.ones(3, 32, 32)}
    for name, value in weights.items():
        if ".blocks." in name:
            for ours, theirs in inside.items():
                name = name.replace(f".{ours}.", f".{theirs}.")
        name = name.replace("backbone.blocks", "backbone.layers")
        name = name.replace("patch_embed.proj", "patch_embed.projection")
        name = name.replace("backbone.norm", "backbone.ln1").replace("decoder.norm", "neck.ln1")
        name = name.replace("decoder.mask_token", "neck.mask_token")
        renamed[name.replace("decoder.", "neck.decoder_")] = value
    return renamed


def vitdet(weights):
    """Our backbone under detectron2's names."""
    return {
        name.replace("backbone.", "backbone.net."): value
        for name, value in weights.items()
        if name.startswith("backbone.") and not re.search(r"cls_token|\.norm\.", name)
    } | {"backbone.net.blocks.0.attn.rel_pos_h": torch.zeros(7, 64), "roi_heads.x": torch.zeros(1)}


@pytest.mark.parametrize(("name", "foreign"), [("mae", official), ("mmpretrain", mmselfsup)])
def test_foreign_weights_load_strictly_decoder_included(weights, name, foreign):
    state = foreign(weights)
    assert detect_format(state) == name
    ours, left_out = convert(state)
    assert left_out == [k for k in state if "target_generator" in k]
    MODELS.build(MAE).load_state_dict(ours)
    assert all(torch.equal(ours[k], weights[k]) for k in weights)
    assert "largest difference" in verify_conversion(name, state, ours)


def test_a_torchscript_archive_is_read(tmp_path):
    module = torch.nn.Linear(3, 2)
    torch.jit.script(module).save(str(tmp_path / "ViT-B-16.pt"))
    state = read_checkpoint(tmp_path / "ViT-B-16.pt")
    assert torch.equal(state["weight"], module.weight)


class _RunsWhenRead(torch.nn.Module):
    @torch.jit.export
    def __getstate__(self) -> int:
        return 0

    @torch.jit.export
    def __setstate__(self, state: int) -> None:
        self.training = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_the_code_of_a_torchscript_archive_is_not_run(tmp_path):
    torch.jit.script(_RunsWhenRead()).save(str(tmp_path / "bad.pt"))
    with pytest.raises(ValueError, match=r"bad\.pt' holds no weights"):
        read_checkpoint(tmp_path / "bad.pt")


def test_biases_without_a_key_are_merged(weights):
    """The format of long_seq_mae's TPU checkpoints."""
    state = {}
    for name, value in official(weights).items():
        if name.endswith("attn.qkv.bias"):
            query, _, values = value.chunk(3)
            state[name.replace("qkv.bias", "q_bias")] = query + 1
            state[name.replace("qkv.bias", "v_bias")] = values + 2
        else:
            state[name] = value
    ours, left_out = convert(state)
    assert not left_out
    MODELS.build(MAE).load_state_dict(ours)
    for block in ("backbone.blocks.0", "decoder.blocks.0"):
        query, key, values = ours[f"{block}.attn.qkv.bias"].chunk(3)
        assert (query == 1).all()
        assert (key == 0).all()
        assert (values == 2).all()
    assert "largest difference" in verify_conversion("mae", state, ours)


def test_timm_holds_a_vit_without_class_token():
    backbone = dict(MAE["backbone"], with_cls_token=False)
    model = MODELS.build(backbone).eval()
    state, _ = export({f"backbone.{k}": v for k, v in model.state_dict().items()}, "timm")
    theirs = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=backbone["img_size"],
        patch_size=backbone["patch_size"],
        embed_dim=backbone["arch"]["embed_dims"],
        depth=backbone["arch"]["depth"],
        num_heads=backbone["arch"]["num_heads"],
        class_token=False,
        global_pool="avg",
        fc_norm=False,
        num_classes=0,
    ).eval()
    theirs.load_state_dict(state)
    images = torch.randn(1, 3, backbone["img_size"], backbone["img_size"])
    assert torch.allclose(theirs.forward_features(images), model(images)[0].flatten(2).mT, atol=1e-5)


def test_vitdet_weights_find_their_relative_positions(weights):
    state = vitdet(weights)
    assert detect_format(state) == "vitdet"
    ours, left_out = convert(state)
    assert "backbone.blocks.0.attn.relative_position.rel_pos_h" in ours
    assert left_out == ["roi_heads.x"]  # not a layer of Mask R-CNN


def test_timm_and_back_is_the_same(weights):
    timm, left_out = export(weights, "timm")
    assert all(name.startswith("decoder.") for name in left_out)
    ours, _ = convert(timm)
    assert all(torch.equal(ours[k], weights[k]) for k in ours)
    assert len(ours) + len(left_out) == len(weights)


def test_parity_notices_a_wrong_conversion(weights):
    wrong = dict(weights)
    wrong["backbone.blocks.1.mlp.fc1.bias"] = wrong["backbone.blocks.1.mlp.fc1.bias"] + 0.5
    with pytest.raises(ParityError, match="differs from timm's"):
        verify_conversion("mae", official(weights), wrong)


def test_parity_knows_layer_scale_and_leaves_relative_positions_alone(weights):
    scaled = {k: v for k, v in weights.items() if k.startswith("backbone.")}
    for i in range(2):
        for ls in ("ls1", "ls2"):
            scaled[f"backbone.blocks.{i}.{ls}.gamma"] = torch.full((64,), 0.5)
    assert "timm" in verify_conversion("mmmim", scaled, scaled)
    ours, _ = convert(vitdet(weights) | {"backbone.net.cls_token": torch.zeros(1, 1, 64)})
    assert "not run" in verify_conversion("mmmim", ours, ours)


def test_an_unknown_format_lists_the_known():
    with pytest.raises(ValueError, match=r"\['conv1.weight'\].*official MAE or timm"):
        detect_format({"conv1.weight": torch.zeros(1)})


def test_a_file_that_cannot_be_converted_is_named(tmp_path):
    path = save(tmp_path, {"conv1.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=rf"{path}': no known checkpoint format"):
        load_backbone(MODELS.build(BACKBONE), path)


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors", "pkl"])
def test_files_of_every_kind_are_read(tmp_path, weights, wrapper, suffix):
    path = tmp_path / f"weights.{suffix}"
    state = official(weights)
    content = {wrapper: state, "epoch": 3} if wrapper else state
    if suffix == "pth":
        torch.save(content, path)
    elif suffix == "safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        arrays = {k: v.numpy() for k, v in state.items()}
        path.write_bytes(pickle.dumps({wrapper or "model": arrays, "__author__": "someone"}))
    read = read_checkpoint(path)
    assert read.keys() == state.keys()
    assert torch.equal(read["pos_embed"], state["pos_embed"])


def test_a_checkpoint_that_runs_code_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    torch.save({"model": {"x": Bomb()}}, tmp_path / "bomb.pth")
    (tmp_path / "bomb.pkl").write_bytes(pickle.dumps({"model": Bomb()}))
    for name in ("bomb.pth", "bomb.pkl"):
        with pytest.raises(ValueError, match="checkpoint"):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["weights.pth", "weights.pkl", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"rubbish" * 100, b"\x09" + bytes(7) + b"{" + b"x" * 20])
def test_a_damaged_file_is_named(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}' cannot be read"):
        read_checkpoint(path)


def test_mmengine_history_is_read(tmp_path):
    from mmengine.logging import HistoryBuffer

    buffer = HistoryBuffer()
    buffer.update(1.0)
    content = dict(state_dict={"x": torch.ones(1)}, message_hub=dict(log_scalars={"loss": buffer}))
    torch.save(content, tmp_path / "epoch_1.pth")
    assert read_checkpoint(tmp_path / "epoch_1.pth")["x"] == 1


def save(tmp_path, state):
    path = tmp_path / "checkpoint.pth"
    write_checkpoint(path, state, {})
    return str(path)


def test_a_transfer_backbone_starts_from_pretraining(tmp_path, weights):
    config = dict(
        BACKBONE,
        img_size=64,
        with_cls_token=False,
        final_norm=False,
        window_size=3,
        relative_position="decomposed",
        init_cfg=dict(type="mmmim.PretrainedBackbone", checkpoint=save(tmp_path, weights)),
    )
    backbone = MODELS.build(config)
    backbone.init_weights()
    state = backbone.state_dict()
    name = "blocks.1.attn.qkv.weight"
    assert torch.equal(state[name], weights[f"backbone.{name}"])
    assert state["pos_embed"].shape == (1, 65, 64)


def test_the_report_counts_everything(tmp_path, weights):
    backbone = MODELS.build(
        dict(BACKBONE, img_size=64, final_norm=False, relative_position="bias", layer_scale=1.0)
    )
    report = load_backbone(backbone, save(tmp_path, weights))
    total = len(backbone.state_dict())
    assert report.total == total
    assert report.resized == ["pos_embed"]
    assert len(report.new) == 2 * 3  # a bias table and two LayerScales per block
    assert len(report.loaded) == total - 6
    assert report.unused == ["norm.weight", "norm.bias"]
    assert re.search(rf"loaded {total - 6} of {total}, resized 1, new: .*, unused: norm", str(report))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(arch=dict(embed_dims=32, depth=2, num_heads=1)), r"another shape: .*\(1, 1, 64\)"),
        (dict(arch=dict(embed_dims=64, depth=3, num_heads=1)), r"Missing: blocks\.2\.norm1\.weight"),
        (dict(patch_size=16), r"patch_embed\.proj\.weight: \(64, 3, 8, 8\) for \(64, 3, 16, 16\)"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(tmp_path, weights, change, message):
    before = MODELS.build({**BACKBONE, **change})
    state = {k: v.clone() for k, v in before.state_dict().items()}
    with pytest.raises(CheckpointMismatch, match=message):
        load_backbone(before, save(tmp_path, weights))
    assert all(torch.equal(v, state[k]) for k, v in before.state_dict().items())


def test_a_checkpoint_without_a_fitting_key_is_refused(tmp_path):
    path = save(tmp_path, {"layer1.0.conv1.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="no known checkpoint format fits"):
        load_backbone(MODELS.build(BACKBONE), path)


def test_writing_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pth"
    write_checkpoint(path, {"x": torch.ones(1)}, {})

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(path, {"x": torch.zeros(1)}, {})
    assert read_checkpoint(path)["x"] == 1


def test_every_format_has_a_signature_of_its_own(weights):
    states = dict(
        mmmim=weights, mae=official(weights), mmpretrain=mmselfsup(weights), vitdet=vitdet(weights)
    )
    first = "blocks1.0.norm1.weight"
    keys = {
        "convmae": [first],
        "convmae-fpn": [f"backbone.bottom_up.{first}", "backbone.fpn_lateral2.weight"],
        "convmae-vitdet": [f"backbone.net.{first}", "backbone.simfp_2.0.weight"],
        "convmae-upernet": ["backbone.blocks3.0.norm1.weight", "backbone.fpn.0.weight"],
    }
    keys["mixmim"] = ["absolute_pos_embed", "layers.0.blocks.0.norm1.weight"]
    keys["mmpretrain-mixmim"] = ["backbone.layers.0.blocks.0.ln1.weight"]
    keys["maskalign"] = ["blocks.0.norm1.weight", "distill_heads.11.weight"]
    states |= {name: dict.fromkeys(names, torch.zeros(1)) for name, names in keys.items()}
    assert {name: detect_format(state) for name, state in states.items()} == {n: n for n in FORMATS}


def test_the_command_line_converts_and_does_not_overwrite(tmp_path, weights):
    source, target = tmp_path / "official.pth", tmp_path / "ours.pth"
    torch.save({"model": official(weights), "args": np.float64(1)}, source)
    command = [sys.executable, "-W", "ignore", "tools/convert_checkpoint.py", source, target]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "forward parity with timm" in result.stdout
    content = torch.load(target)
    assert content["meta"]["source_format"] == "mae"
    MODELS.build(MAE).load_state_dict(content["state_dict"])
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "choose another name" in result.stderr


@pytest.mark.parametrize("name", ["reg_token", "norm_pre.weight", "blocks.0.attn.q_norm.weight"])
def test_an_encoder_with_more_in_it_is_refused(name):
    model = timm.models.VisionTransformer(img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=1)
    with pytest.raises(ValueError, match=rf"encoder has the weights {name}, which our backbones lack"):
        convert({**model.state_dict(), name: torch.zeros(64)})


def test_layer_scale_is_not_left_out_without_a_word(tmp_path):
    model = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=1, init_values=0.5
    )
    path = save(tmp_path, model.state_dict())
    with pytest.raises(CheckpointMismatch, match=r"set the backbone's layer_scale=1\.0"):
        load_backbone(MODELS.build(BACKBONE), path)
    backbone = MODELS.build(dict(BACKBONE, layer_scale=1.0))
    load_backbone(backbone, path)
    assert backbone.blocks[0].ls1.gamma.unique().item() == 0.5
