"""tools/ after pretraining on synthetic scenes: fine-tuning, evaluation, classification, pictures."""

import re
import sys

import pytest
import torch
from mmengine import Config
from PIL import Image

from tests.smoke.launching import CONFIG, PRETRAIN, ROOT, call, run

TRANSFER = {
    "configs/tiny/mask-rcnn_vit_scenes.py": (
        ("train_cfg.max_epochs=1", "train_cfg.val_interval=1", "model.neck.in_channels=16"),
        "epoch_1.pth",
        "loaded 75 of 87, resized 0, new: blocks.0.attn.relative_position",
        "coco/segm_mAP",
    ),
    "configs/tiny/upernet_vit_scenes.py": (
        (
            "train_cfg.max_iters=3",
            "train_cfg.val_interval=3",
            "default_hooks.checkpoint.interval=3",
            "model.neck.embed_dim=16",
            "model.decode_head.in_channels=[16,16,16,16]",
            "model.auxiliary_head.in_channels=16",
        ),
        "iter_3.pth",
        "loaded 76 of 94, resized 0, new: blocks.0.attn.relative_position",
        "mIoU",
    ),
}


@pytest.mark.parametrize("config", TRANSFER)
def test_pretrained_weights_fine_tune_and_evaluate(scenes, uninterrupted, tmp_path, config):
    options, checkpoint, loaded, metric = TRANSFER[config]
    options = ("--cfg-options", "model.backbone.arch.embed_dims=16", *options)
    train = [sys.executable, "tools/train.py", config, "--work-dir", tmp_path, "--amp"]
    output = call([*train, "--pretrained", uninterrupted / "epoch_3.pth", *options], scenes)
    assert loaded in output
    assert "training in float32" in output
    test = [sys.executable, "tools/test.py", config, tmp_path / checkpoint]
    assert metric in call([*test, "--work-dir", tmp_path / "test", *options], scenes)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Two classes of 8 pictures each, which differ in color."""
    folder = tmp_path_factory.mktemp("classes")
    for split in ("train", "val"):
        for name, color in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
            (folder / split / name).mkdir(parents=True)
            for i in range(8):
                Image.new("RGB", (100 + i, 96), color).save(folder / split / name / f"{i}.jpg")
    return folder


SMALL_VIT = ("img_size=96", "patch_size=8", "arch.embed_dims=16", "arch.num_heads=4")
CLASSIFIERS = {
    "configs/tiny/classifier_vit_clothing.py": ("model.backbone", ("model.neck.channels=16",)),
    "configs/tiny/linear_vit_clothing.py": (
        "model.backbone.backbone",
        ("model.neck.input_features=16", "optim_wrapper.optimizer.type=LARS"),
    ),
}


CASES = [pytest.param(c, marks=pytest.mark.slow if "linear" in c else ()) for c in CLASSIFIERS]


@pytest.mark.parametrize("config", CASES)
def test_pretrained_weights_classify(scenes, uninterrupted, labelled, slurm, tmp_path, config):
    backbone, more = CLASSIFIERS[config]
    options = [f"{backbone}.{option}" for option in SMALL_VIT]
    options += ["model.head.in_channels=16", "model.head.num_classes=2", *more]
    options += ["train_dataloader.batch_size=8", "train_cfg.max_epochs=2", "train_cfg.val_interval=2"]
    folder = dict(CLOTHING=str(labelled))
    train = [sys.executable, "tools/train.py", config, "--work-dir", tmp_path]
    train += ["--pretrained", uninterrupted / "epoch_3.pth", "--cfg-options", *options]
    train += ["default_hooks.checkpoint.interval=2", "optim_wrapper.optimizer.lr=0.1"]
    output = call(train, scenes, **folder)
    assert re.search(r"loaded 7\d of 7\d, resized 0, new: none", output)
    test = ["tools/slurm_test.sh", "some", "job", config, tmp_path / "epoch_2.pth", "--cfg-options"]
    test += [*options, f"work_dir={tmp_path / 'test'}"]
    tested = call(test, scenes, **folder, **slurm)
    accuracy = re.compile(r"accuracy/top1: ([\d.]+)")
    assert accuracy.findall(tested)[-1] == accuracy.findall(output)[-1]
    state = torch.load(tmp_path / "epoch_2.pth", weights_only=False)["state_dict"]
    began = torch.load(uninterrupted / "epoch_3.pth", weights_only=False)["state_dict"]
    name = "backbone.blocks.0.attn.qkv.weight"
    assert torch.equal(state[name], began[name]) == ("linear" in config)


def test_reconstructions_are_drawn_and_an_encoder_alone_is_refused(scenes, uninterrupted, tmp_path):
    cfg = Config.fromfile(ROOT / CONFIG)
    cfg.merge_from_dict({k: eval(v) for k, v in (o.split("=") for o in PRETRAIN)})
    cfg.dump(tmp_path / "config.py")
    out = tmp_path / "picture.png"
    command = [sys.executable, "tools/visualize.py", tmp_path / "config.py"]
    images = scenes / "coco/val2017"
    call([*command, uninterrupted / "epoch_3.pth", images, "--out", out], scenes)
    assert out.stat().st_size > 1000

    encoder = tmp_path / "encoder.pth"
    convert = [sys.executable, "tools/convert_checkpoint.py", uninterrupted / "epoch_3.pth", encoder]
    call([*convert, "--to", "backbone"], scenes)
    result = run([*command, encoder, images, "--out", tmp_path / "no.png"], scenes)
    assert "holds an encoder without its decoder" in result.stderr
    assert not (tmp_path / "no.png").exists()
