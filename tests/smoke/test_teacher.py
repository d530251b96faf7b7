"""Runs with a teacher."""

import hashlib
import json
import shutil
import sys

import pytest
import torch
from mmengine import Config

from tests.smoke.launching import ONE_EPOCH, ROOT, call, losses, run, teacher_file

MASKALIGN = "configs/tiny/maskalign_vit_scenes.py"


@pytest.fixture(scope="module")
def aligned(scenes, small_teacher, tmp_path_factory):
    """Folder and options of a short MaskAlign run."""
    folder = tmp_path_factory.mktemp("aligned")
    teacher = shutil.copy(small_teacher, folder / "teacher.pth")
    options = [
        "model.backbone.arch.embed_dims=16",
        "model.teacher.model_args.embed_dim=16",
        *ONE_EPOCH[:1],
        *ONE_EPOCH[3:],
    ]
    command = [sys.executable, "tools/train.py", MASKALIGN, "--work-dir", folder / "work"]
    batch = "train_dataloader.batch_size=8"
    call([*command, "--cfg-options", *options, batch], scenes, TEACHER=str(teacher))
    return folder, options


def test_a_run_with_a_teacher_leaves_what_it_should(aligned):
    folder, _ = aligned
    checkpoint = torch.load(folder / "work/epoch_1.pth", weights_only=False)
    digest = hashlib.sha256((folder / "teacher.pth").read_bytes()).hexdigest()
    assert checkpoint["meta"]["teacher"] == dict(name="vit_tiny_patch16_224", sha256=digest)
    assert not any("teacher" in name for name in checkpoint["state_dict"])
    assert (folder / "work/alignment/epoch_1.png").stat().st_size > 1000
    assert (folder / "work/predictions/epoch_1.png").stat().st_size > 1000
    log = next((folder / "work").glob("*/vis_data/scalars.json")).read_text().splitlines()
    assert {f"similarity_layer{i}" for i in range(1, 6)} <= set(json.loads(log[-1]))


def test_another_teacher_is_refused_on_resume_and_a_missing_one_at_the_start(aligned, scenes):
    folder, options = aligned
    command = [sys.executable, "tools/train.py", MASKALIGN, "--work-dir", folder / "other"]
    options = ["--cfg-options", *options, "train_dataloader.batch_size=8"]
    other = str(teacher_file(folder / "other.pth", seed=1))
    resume = ["--resume", folder / "work/epoch_1.pth"]
    result = run([*command, *resume, *options], scenes, TEACHER=other)
    assert "was trained with the teacher vit_tiny_patch16_224, sha256" in result.stderr
    result = run([*command, *options], scenes, TEACHER=str(folder / "nowhere.pth"))
    assert "needs its weights: no file" in result.stderr
    more = ["train_cfg.max_epochs=2", "model.data_preprocessor.pad_value=0"]
    call([*command, *resume, *options, *more], scenes, TEACHER=str(folder / "teacher.pth"))
    assert list(losses(folder / "other")) == list(range(7, 13))


def test_a_student_is_drawn_beside_its_teacher(aligned, scenes, tmp_path):
    folder, options = aligned
    cfg = Config.fromfile(ROOT / MASKALIGN)
    cfg.merge_from_dict({k: int(v) for k, v in (o.split("=") for o in options if "model." in o)})
    cfg.model.teacher.checkpoint = str(folder / "teacher.pth")
    cfg.dump(tmp_path / "config.py")
    out = tmp_path / "picture.png"
    command = [
        sys.executable,
        "tools/visualize.py",
        tmp_path / "config.py",
        folder / "work/epoch_1.pth",
    ]
    printed = call([*command, scenes / "coco/val2017", "--out", out], scenes)
    assert "teacher attention, kept patches, similarity to the teacher; 4 images" in printed
    assert out.stat().st_size > 1000
