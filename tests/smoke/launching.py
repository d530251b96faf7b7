"""Call tools/ as a user does, and read the logs of a run."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import timm
import torch

ROOT = Path(__file__).parents[2]
ONE_EPOCH = (  # 48 images in batches of 8: 6 steps
    "train_cfg.max_epochs=1",
    "model.decoder.embed_dims=16",
    "model.decoder.depth=1",
    "default_hooks.logger.interval=1",
    "train_dataloader.num_workers=1",
)


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
        timeout=1200,  # deadlocked processes would never end
    )


def call(command, scenes, **more) -> str:
    result = run(command, scenes, **more)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout + result.stderr


def free_port() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return str(sock.getsockname()[1])


def losses(work_dir) -> dict[int, float]:
    """Step -> loss, in the order of the runs."""
    found = {}
    for file in sorted(Path(work_dir).glob("*/vis_data/scalars.json")):
        for line in file.read_text().splitlines():
            record = json.loads(line)
            if "loss" in record:
                found[record["step"]] = record["loss"]
    return found


SMALL_TEACHER = dict(
    img_size=96, patch_size=8, embed_dim=16, depth=6, num_heads=4, class_token=False, global_pool="avg"
)


def teacher_file(path, seed: int):
    torch.manual_seed(seed)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, **SMALL_TEACHER)
    torch.save(model.state_dict(), path)
    return path


# 48 images in batches of 8, three epochs: 18 steps.
PRETRAIN = (
    "train_cfg.max_epochs=3",
    "model.method.backbone.arch.embed_dims=16",
    "model.method.decoder.embed_dims=16",
    "model.method.decoder.depth=1",
    "default_hooks.logger.interval=1",
    "train_dataloader.num_workers=1",
)
CONFIG = "configs/tiny/pixmim_vit_scenes.py"


def pretrain_command(work_dir, batch=8) -> list:
    options = (*PRETRAIN, f"train_dataloader.batch_size={batch}")
    return ["tools/train.py", CONFIG, "--work-dir", work_dir, "--cfg-options", *options]
