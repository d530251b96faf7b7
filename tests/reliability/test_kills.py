"""Runs that are killed at random moments lose no step beyond their last checkpoint.

The moments lie within steps, while a checkpoint is written, and while old ones are removed.
"""

import random
import signal
import time
from pathlib import Path

import mmdet.evaluation
import mmdet.models  # noqa: F401  (before the forks)
import pytest
from mmengine import Config

from mmmim.data.synthetic import ScenesSpec, make_scenes
from mmmim.engine.resume import completed_steps, find_newest_whole
from tests.reliability.runs import CONFIGS, losses, pretraining, start, train
from tests.reliability.test_resume import slow

KILLS = 20
EPOCHS = 6  # of six steps
pytestmark = pytest.mark.slow


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    spec = ScenesSpec(unlabelled=4, labelled=12, validation=4)
    folder = make_scenes(tmp_path / "scenes", spec)
    monkeypatch.setenv("SCENES", str(folder))


def detection(work_dir) -> Config:
    """Mask R-CNN of two small blocks, 24 steps an epoch (each image is repeated four times)."""
    cfg = Config.fromfile(CONFIGS / "mask-rcnn_vit_scenes.py")
    cfg.merge_from_dict(
        {
            "model.backbone.arch": dict(embed_dims=32, depth=2, num_heads=2, _delete_=True),
            "model.neck.in_channels": 32,
            "train_cfg.max_epochs": 3,
            "train_cfg.val_interval": 3,
            "default_hooks.logger.interval": 1,
            "default_hooks.checkpoint.interval": 1,
            "train_dataloader.batch_size": 2,
            "train_dataloader.num_workers": 1,
            "train_dataloader.persistent_workers": True,
        }
    )
    cfg.work_dir = str(work_dir)
    return cfg


def slow_files():
    """Let the moments around the names of files take a while, so that kills hit them."""
    import mmmim.atomic as atomic
    from mmmim.engine.hooks.checkpoint import CheckpointHook

    replace, fsync, remove = atomic.os.replace, atomic.os.fsync, CheckpointHook._remove

    def slowly(function):
        def call(*args):
            time.sleep(0.05)
            found = function(*args)
            time.sleep(0.05)
            return found

        return call

    atomic.os.replace, atomic.os.fsync = slowly(replace), slowly(fsync)
    CheckpointHook._remove = slowly(remove)


def kill_at_random(make, ranks, kills, longest):
    """Start and kill, again and again -> the newest checkpoint after each kill.

    Kills come within `longest` seconds after a start; some must hit a run that has gone on.
    """
    generator = random.Random(ranks)
    seen = []
    for number in range(kills):
        cfg = make()
        cfg.default_hooks.checkpoint.update(max_keep_ckpts=1 + number % 2)
        run = start(slow(cfg, 0.05), ranks, before=slow_files, resume="auto")
        run.wait_for("Checkpoints will be saved to")
        delay = generator.uniform(0.0, longest)
        end = time.monotonic() + delay
        while time.monotonic() < end and run._poll():
            time.sleep(0.01)
        run.signal(signal.SIGKILL)
        run.wait()
        found = find_newest_whole(Path(cfg.work_dir))
        assert not found.damaged  # no file under its own name
        done = completed_steps(found.content) or 0
        assert not seen or done >= seen[-1], f"went from {seen[-1]} back to {done}"
        seen.append(done)
    assert len(set(seen)) > 5, f"only the checkpoints {seen} were written between the kills"
    return seen


@pytest.mark.parametrize("ranks", [1, 2])
def test_pretraining_that_is_killed_equals_one_that_is_not(photos, tmp_path, ranks):
    def make(name="run"):
        changes = {"train_dataloader.batch_size": 4 // ranks}
        cfg = pretraining(photos, tmp_path / name, epochs=EPOCHS, **changes)
        cfg.default_hooks.checkpoint.update(by_epoch=False, interval=2)
        return cfg

    train(make("whole"), ranks)
    seen = kill_at_random(make, ranks, KILLS, longest=1.5 * ranks)
    train(make(), ranks, resume="auto")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    print(f"{KILLS} kills of {ranks} ranks, newest checkpoints {seen}: every loss is equal")


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.usefixtures("scenes")
def test_detection_that_is_killed_goes_on(tmp_path, ranks):
    def make():
        cfg = detection(tmp_path / "run")
        cfg.train_dataloader.batch_size = 2 // ranks
        cfg.default_hooks.checkpoint.update(by_epoch=False, interval=2)
        return cfg

    seen = kill_at_random(make, ranks, KILLS, longest=8.0 * ranks)
    train(make(), ranks, resume="auto")
    assert set(losses(tmp_path / "run")) >= set(range(1, 73))
    print(f"{KILLS} kills of {ranks} ranks, newest checkpoints {seen}: every resume went on")
