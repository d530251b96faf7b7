"""tools/ as a user calls them, on drawn images: several processes, kill and resume, evaluation."""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch
from mmengine import Config
from PIL import Image

from mmmim.data.scenes import ScenesSpec, make_scenes

sys.path.insert(0, str(Path(__file__).parent))
from train_methods import METHODS

ROOT = Path(__file__).parents[2]
# 48 images in batches of 8, three epochs: 18 steps.
PRETRAIN = (
    "train_cfg.max_epochs=3",
    "model.host.backbone.arch.embed_dims=16",
    "model.host.decoder.embed_dims=16",
    "model.host.decoder.depth=1",
    "default_hooks.logger.interval=1",
    "train_dataloader.num_workers=1",
)
CONFIG = "configs/tiny/pixmim_vit_scenes.py"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    spec = ScenesSpec(unlabelled=40, labelled=8, validation=4)
    return make_scenes(tmp_path_factory.mktemp("data") / "scenes", spec)


def environment(scenes, **more) -> dict:
    common = dict(SCENES=str(scenes), OMP_NUM_THREADS="1", PYTHON=sys.executable)
    return {**os.environ, **common, **more}


def run(command, scenes, **more) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(c) for c in command],
        cwd=ROOT,
        env=environment(scenes, **more),
        capture_output=True,
        text=True,
        check=False,
    )


def call(command, scenes, **more) -> str:
    result = run(command, scenes, **more)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout + result.stderr


def free_port() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return str(sock.getsockname()[1])


def pretrain_command(work_dir, batch=8) -> list:
    options = (*PRETRAIN, f"train_dataloader.batch_size={batch}")
    return ["tools/train.py", CONFIG, "--work-dir", work_dir, "--cfg-options", *options]


def losses(work_dir) -> dict[int, float]:
    """Step -> loss, in the order of the runs."""
    found = {}
    for file in sorted(Path(work_dir).glob("*/vis_data/scalars.json")):
        for line in file.read_text().splitlines():
            record = json.loads(line)
            if "loss" in record:
                found[record["step"]] = record["loss"]
    return found


@pytest.fixture(scope="module")
def uninterrupted(scenes, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp("uninterrupted")
    call([sys.executable, *pretrain_command(work_dir)], scenes)
    return work_dir


def test_two_processes_give_the_losses_of_one(scenes, uninterrupted, tmp_path):
    """On two nodes, of which this machine plays both."""
    port, command = free_port(), pretrain_command(tmp_path, batch=4)
    nodes = [
        subprocess.Popen(
            [str(c) for c in ("tools/dist_train.sh", CONFIG, "1", *command[2:])],
            cwd=ROOT,
            env=environment(scenes, PORT=port, NNODES="2", NODE_RANK=rank),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for rank in ("0", "1")
    ]
    assert [node.wait(timeout=300) for node in nodes] == [0, 0]
    one, two = losses(uninterrupted), losses(tmp_path)
    assert list(one) == list(two) == list(range(1, 19))
    assert list(two.values()) == pytest.approx(list(one.values()), rel=1e-4)
    weights = [
        torch.load(d / "epoch_3.pth", weights_only=False)["state_dict"]
        for d in (uninterrupted, tmp_path)
    ]
    for name, value in weights[0].items():
        assert torch.allclose(weights[1][name], value, atol=1e-4), name


ONE_EPOCH = (  # 48 images in batches of 8: 6 steps
    "train_cfg.max_epochs=1",
    "model.decoder.embed_dims=16",
    "model.decoder.depth=1",
    "default_hooks.logger.interval=1",
    "train_dataloader.num_workers=1",
)


@pytest.fixture(scope="module")
def small_teacher(tmp_path_factory):
    return teacher_file(tmp_path_factory.mktemp("teacher") / "teacher.pth", seed=0)


@pytest.fixture(scope="module")
def every_method(scenes, small_teacher, tmp_path_factory):
    """Folders of train_methods.py in one process, and in two that stop and resume: copies, shares."""
    one, copies, shares = (tmp_path_factory.mktemp(name) for name in ("one", "copies", "shares"))
    script, teacher = Path(__file__).with_name("train_methods.py"), dict(TEACHER=str(small_teacher))
    call([sys.executable, script, one], scenes, **teacher)
    for folder, options in ((copies, []), (shares, ["--fsdp"])):
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
        torchrun += ["--master_port", free_port(), script, folder, "--launcher", "pytorch", *options]
        call(torchrun, scenes, **teacher)
    return dict(one=one, DDP=copies, FSDP=shares)


@pytest.mark.parametrize("how", ["DDP", "FSDP"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_in_two_resumed_processes_trains_as_in_one(every_method, method, how):
    """Losses, weights, and what the optimiser remembers, in a checkpoint that one process writes."""
    one, two = (
        torch.load(every_method[name] / method / "epoch_2.pth", weights_only=False)
        for name in ("one", how)
    )
    began = torch.load(every_method["one"] / method / "epoch_1.pth", weights_only=False)["state_dict"]
    history = [
        torch.from_numpy(c["message_hub"]["log_scalars"]["train/loss"].data[0]) for c in (one, two)
    ]
    if method == "MixMIM":  # one process accumulates two batches a step
        history[0] = history[0].view(-1, 2).mean(dim=1)
    assert history[0].shape == history[1].shape == (12,)
    assert torch.allclose(*history, rtol=1e-5)
    assert one["state_dict"].keys() == two["state_dict"].keys()
    trained = 0
    for name, value in one["state_dict"].items():
        if moved := (value.float() - began[name].float()).abs().max().item():
            difference = (value - two["state_dict"][name]).abs().max().item()
            assert difference < 2e-3 * moved + 1e-7, name
            trained += 1
    assert trained > 30
    assert one["optimizer"]["state"].keys() == two["optimizer"]["state"].keys()
    for i, moments in one["optimizer"]["state"].items():
        largest = moments["momentum_buffer"].abs().max().item()
        difference = moments["momentum_buffer"] - two["optimizer"]["state"][i]["momentum_buffer"]
        assert difference.abs().max().item() < 2e-3 * largest + 1e-7


SRUN = """#!/usr/bin/env bash
# What srun does on one node.
set -eu
declare -A given
while [[ $1 == --* ]]; do given[${1%%=*}]=${1#*=}; shift; done
[ "${given[--partition]} ${given[--job-name]} ${given[--gres]}" = "some job gpu:2" ]
[ "${given[--ntasks-per-node]} ${given[--cpus-per-task]} ${given[--exclusive]}" = "2 1 --exclusive" ]
export SLURM_NTASKS=${given[--ntasks]} SLURM_NODELIST=node1
for ((i = 0; i < SLURM_NTASKS; i++)); do SLURM_PROCID=$i SLURM_LOCALID=$i "$@" & pids+=($!); done
for pid in "${pids[@]}"; do wait "$pid"; done
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Environment of a login node whose one node is this machine, with two GPUs asked for."""
    folder = tmp_path_factory.mktemp("slurm")
    commands = dict(srun=SRUN, scontrol="#!/bin/sh\n[ $3 = node1 ] && echo 127.0.0.1\n")
    for name, script in commands.items():
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    asked = dict(GPUS="2", GPUS_PER_NODE="2", CPUS_PER_TASK="1", SRUN_ARGS="--exclusive")
    return dict(asked, PATH=f"{folder}:{os.environ['PATH']}", MASTER_PORT=free_port())


def test_mixmim_trains_under_slurm_in_odd_batches(scenes, slurm, tmp_path):
    """24 images a process are 7, 7, 7 and 3."""
    options = [*ONE_EPOCH, "train_dataloader.batch_size=7", "train_dataloader.drop_last=False"]
    command = ["tools/slurm_train.sh", "some", "job", "configs/tiny/mixmim_scenes.py", tmp_path]
    call([*command, "--cfg-options", *options], scenes, **slurm)
    found = losses(tmp_path)
    assert list(found) == [1, 2, 3, 4]
    assert all(0 < loss < 3 for loss in found.values())


def test_killed_and_resumed_gives_the_losses_of_an_uninterrupted_run(scenes, uninterrupted, tmp_path):
    command = [sys.executable, *pretrain_command(tmp_path)]
    process = subprocess.Popen(
        [str(c) for c in command],
        cwd=ROOT,
        env=environment(scenes),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.time() + 120
    while not (tmp_path / "epoch_1.pth").exists() or len(losses_so_far(tmp_path)) < 8:
        assert process.poll() is None, "the run ended before it was killed"
        assert time.time() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "epoch_3.pth").exists()

    call([*command[:3], "--resume", *command[3:]], scenes)
    assert losses(tmp_path) == pytest.approx(losses(uninterrupted), rel=1e-6)


def losses_so_far(work_dir) -> list[str]:
    return [
        line
        for file in Path(work_dir).glob("*/vis_data/scalars.json")
        for line in file.read_text().splitlines()
    ]


def test_a_finished_work_dir_is_not_written_over(scenes, uninterrupted):
    before = (uninterrupted / "epoch_3.pth").stat().st_mtime_ns
    result = run([sys.executable, *pretrain_command(uninterrupted)], scenes)
    assert result.returncode != 0
    assert "already holds checkpoints. Continue them with --resume" in result.stderr
    assert (uninterrupted / "epoch_3.pth").stat().st_mtime_ns == before


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
    """Two classes of 8 pictures, told apart by their colour."""
    folder = tmp_path_factory.mktemp("classes")
    for split in ("train", "val"):
        for name, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
            (folder / split / name).mkdir(parents=True)
            for i in range(8):
                Image.new("RGB", (100 + i, 96), colour).save(folder / split / name / f"{i}.jpg")
    return folder


SMALL_VIT = ("img_size=96", "patch_size=8", "arch.embed_dims=16", "arch.num_heads=4")
CLASSIFIERS = {
    "configs/tiny/classifier_vit_clothing.py": ("model.backbone", ("model.neck.channels=16",)),
    "configs/tiny/linear_vit_clothing.py": (
        "model.backbone.backbone",
        ("model.neck.input_features=16", "optim_wrapper.optimizer.type=LARS"),
    ),
}


@pytest.mark.parametrize("config", CLASSIFIERS)
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


MASKALIGN = "configs/tiny/maskalign_vit_scenes.py"
SMALL_TEACHER = dict(
    img_size=96, patch_size=8, embed_dim=16, depth=6, num_heads=4, class_token=False, global_pool="avg"
)


def teacher_file(path, seed: int):
    torch.manual_seed(seed)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, **SMALL_TEACHER)
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def aligned(scenes, small_teacher, tmp_path_factory):
    """Work dir, options and teacher of a short MaskAlign run."""
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
    assert "this run learned from the teacher vit_tiny_patch16_224 with sha256" in result.stderr
    result = run([*command, *options], scenes, TEACHER=str(folder / "nowhere.pth"))
    assert "needs its weights, and there is no file" in result.stderr
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
    assert "what the teacher attends to, kept patches, similarity to the teacher; 4 images" in printed
    assert out.stat().st_size > 1000


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
    assert "holds an encoder alone" in result.stderr
    assert not (tmp_path / "no.png").exists()
