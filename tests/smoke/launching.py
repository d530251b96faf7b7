"""Call tools/ as a user does, and read the logs of a run."""

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import timm
import torch

from mmmim.engine.signals import end_with_parent

ROOT = Path(__file__).parents[2]
LIMIT = 1200  # seconds after which a command hangs
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
    """Run a command to its end. A Python script runs in a fork of this process, see `run_forked`."""
    command = [str(c) for c in command]
    if command[0] == sys.executable and command[1].endswith(".py"):
        return run_forked(command[1:], [environment(scenes, **more)])
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment(scenes, **more),
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,  # deadlocked processes would never end
    )


def run_ranks(command, ranks: int, scenes, **more) -> subprocess.CompletedProcess:
    """A Python script in as many processes as torchrun would start."""
    where = dict(WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT=free_port())
    environments = [
        environment(scenes, RANK=str(rank), LOCAL_RANK=str(rank), **where, **more)
        for rank in range(ranks)
    ]
    return run_forked([str(c) for c in command], environments)


def run_forked(argv: list[str], environments: list[dict]) -> subprocess.CompletedProcess:
    """Run a script as `python SCRIPT ...` does, but in forks of this process, one per environment.

    A fork has all packages imported already, which takes a new interpreter 10 seconds.
    """
    import mmdet.models  # noqa: F401
    import mmpretrain.models  # noqa: F401
    import mmseg.models  # noqa: F401

    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        pids = []
        for variables in environments:
            if pid := os.fork():
                pids.append(pid)
            else:
                _be_script(argv, variables, out.fileno(), err.fileno())
        codes = [_wait(pid) for pid in pids]
        out.seek(0), err.seek(0)
        code = next((code for code in codes if code), 0)
        return subprocess.CompletedProcess(argv, code, out.read(), err.read())


def _be_script(argv: list[str], variables: dict, out: int, err: int) -> None:
    code = 1
    end_with_parent()
    try:
        os.dup2(out, 1), os.dup2(err, 2)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        os.environ.clear()
        os.environ.update(variables)
        os.chdir(ROOT)
        torch.set_num_threads(1)
        sys.argv = list(argv)
        runpy.run_path(argv[0], run_name="__main__")
        code = 0
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(pid: int) -> int:
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


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
