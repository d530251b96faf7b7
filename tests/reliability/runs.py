"""Train tiny models in forked processes, which start in a second and can be killed.

The parent has everything imported. A run is started like the command `mmmim train`, alone or as one of
several ranks on gloo.
"""

import json
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine import Config
from mmengine.hooks import Hook
from PIL import Image

from mmmim.engine import RunOptions, run_train
from mmmim.engine.signals import end_with_parent
from mmmim.registry import HOOKS
from tests.smoke.launching import free_port

CONFIGS = Path(__file__).parents[2] / "configs/tiny"
STEPS = 6  # of an epoch: 24 images in batches of 4
LIMIT = 120  # seconds after which a run hangs


@HOOKS.register_module()
class SlowSteps(Hook):
    """Lets a step take a while, so that a test can hit it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        time.sleep(self.seconds)


def draw_photos(folder: Path, count: int = 24) -> Path:
    """Random images of 40 x 40 pixels."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for i in range(count):
        pixels = generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03}.png")
    return folder


def pretraining(photos: Path, work_dir: Path, epochs: int = 3, **changes: Any) -> Config:
    """MAE of two small blocks, six steps an epoch."""
    cfg = Config.fromfile(CONFIGS / "mae_vit_scenes.py")
    cfg.merge_from_dict(
        {
            "model.backbone.arch": dict(embed_dims=32, depth=2, num_heads=2, _delete_=True),
            "model.backbone.img_size": 32,
            "model.decoder": dict(embed_dims=16, depth=1, num_heads=2),
            "train_dataloader.dataset.data_root": str(photos),
            "train_dataloader.dataset.data_prefix": "",
            "train_dataloader.batch_size": 4,
            "train_dataloader.num_workers": 1,
            "train_cfg.max_epochs": epochs,
            "default_hooks.logger.interval": 1,
            "default_hooks.checkpoint.interval": 1,
            "log_processor.window_size": 1,
            "param_scheduler": [dict(type="CosineAnnealingLR", T_max=60, end=60, by_epoch=False)],
            **changes,
        }
    )
    cfg.train_dataloader.dataset.pipeline[0].size = 32
    cfg.custom_hooks = [
        h for h in cfg.custom_hooks if h["type"] not in ("PredictionHook", "DataWaitHook")
    ]
    cfg.work_dir = str(work_dir)
    return cfg


@dataclass
class Run:
    """A started run."""

    pids: list[int]
    log: Path
    codes: dict[int, int] = field(default_factory=dict)

    def wait(self, limit: float = LIMIT) -> list[int]:
        """Exit codes of the ranks (negative: the signal that killed it)."""
        end = time.monotonic() + limit
        while self._poll():
            if time.monotonic() > end:
                self.signal(signal.SIGKILL)
                raise TimeoutError(f"still running after {limit} s:\n{self.text()[-3000:]}")
            time.sleep(0.02)
        return [self.codes[pid] for pid in self.pids]

    def _poll(self) -> bool:
        """Whether a rank is still running."""
        for pid in self.pids:
            if pid not in self.codes:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    self.codes[pid] = os.waitstatus_to_exitcode(status)
        return len(self.codes) < len(self.pids)

    def signal(self, number: int, ranks: slice = slice(None)) -> None:
        for pid in self.pids[ranks]:
            if pid not in self.codes:
                os.kill(pid, number)

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str, limit: float = LIMIT) -> None:
        """Wait until the log says `text`."""
        end = time.monotonic() + limit
        while text not in self.text():
            assert time.monotonic() < end, f"'{text}' not in the log:\n{self.text()[-3000:]}"
            assert self._poll(), f"the run ended:\n{self.text()[-3000:]}"
            time.sleep(0.01)


def start(cfg: Config, ranks: int = 1, before: Any = None, **options: Any) -> Run:
    """Start a run in the background; `before()` is called first in each rank."""
    work_dir = Path(cfg.work_dir)
    work_dir.parent.mkdir(parents=True, exist_ok=True)
    log = work_dir.parent / f"{work_dir.name}.{time.monotonic_ns()}.log"
    port = free_port()
    log.touch()
    pids = []
    for rank in range(ranks):
        pid = os.fork()
        if pid:
            pids.append(pid)
            continue
        _be_rank(cfg, rank, ranks, port, log, before, options)
    return Run(pids, log)


def _be_rank(cfg, rank, ranks, port, log, before, options) -> None:
    code = 1
    end_with_parent()
    try:
        os.setpgid(0, 0)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = sys.stderr = os.fdopen(output, "w", buffering=1, closefd=False)
        cfg.launcher = "pytorch" if ranks > 1 else "none"
        cfg.experiment_name = f"run{time.monotonic_ns()}"  # mmengine keeps loggers by this name
        if ranks > 1:
            where = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), **where)
        torch.set_num_threads(1)
        if before is not None:
            before()
        run_train(cfg, RunOptions(**options))
        code = 0
    except SystemExit as error:
        code = error.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def train(cfg: Config, ranks: int = 1, before: Any = None, **options: Any) -> Run:
    """Run to the end; every rank must succeed."""
    run = start(cfg, ranks, before, **options)
    codes = run.wait()
    assert codes == [0] * ranks, f"{codes}\n{run.text()[-4000:]}"
    return run


def losses(work_dir: Path) -> dict[int, float]:
    """Step -> loss; a later run overwrites the steps that it repeats."""
    found = {}
    for file in sorted(Path(work_dir).glob("*/vis_data/scalars.json")):
        for line in file.read_text().splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:  # cut off by a kill
                continue
            if "loss" in record:
                found[record["step"]] = record["loss"]
    return found
