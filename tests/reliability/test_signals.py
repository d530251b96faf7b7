"""A signal ends a run after its step, with a checkpoint from which it goes on exactly."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmmim.engine.signals import SIGNALS
from tests.reliability.runs import losses, pretraining, start, train
from tests.reliability.test_resume import checkpoints, slow

ROOT = Path(__file__).parents[2]
BATCH_OF_TWO = {"train_dataloader.batch_size": 2}


QUICK = (signal.SIGTERM, signal.SIGUSR1)


@pytest.mark.parametrize(
    "number",
    [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow, id=n.name) for n in SIGNALS],
)
def test_a_signal_ends_the_run_after_the_step(photos, tmp_path, whole, number):
    work_dir = tmp_path / "run"
    run = start(slow(pretraining(photos, work_dir)))
    run.wait_for("Epoch(train) [1][3/6]")
    os.killpg(run.pids[0], number)  # workers of the data loader get it too, as from a terminal
    assert run.wait() == [75]
    assert f"{number.name}: the run ends after a checkpoint" in run.text()
    (name,) = checkpoints(work_dir)
    assert name in ("iter_3.pth", "iter_4.pth", "iter_5.pth")
    assert f"continue with --resume, from '{name}'" in run.text()
    train(pretraining(photos, work_dir), resume="auto")
    assert losses(work_dir) == whole
    assert checkpoints(work_dir) == ["epoch_1.pth", "epoch_2.pth", "epoch_3.pth"]


def test_a_second_signal_ends_it_at_once(photos, tmp_path):
    run = start(slow(pretraining(photos, tmp_path / "run"), seconds=6))
    run.wait_for("Epoch(train) [1][1/6]")
    run.signal(signal.SIGTERM)
    run.wait_for("the run ends after a checkpoint")
    import time

    time.sleep(1.2)  # a launcher and the system may both deliver one signal
    run.signal(signal.SIGTERM)
    assert run.wait(limit=5) == [-signal.SIGTERM]


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_all_ranks_stop_after_the_same_step(photos, tmp_path, rank):
    train(pretraining(photos, tmp_path / "whole", **BATCH_OF_TWO), ranks=2)
    work_dir = tmp_path / "run"
    run = start(slow(pretraining(photos, work_dir, **BATCH_OF_TWO)), ranks=2)
    run.wait_for("Epoch(train) [1][3/6]")
    run.signal(signal.SIGUSR1, slice(rank, rank + 1))
    assert run.wait() == [75, 75]
    assert len(checkpoints(work_dir)) == 1
    train(pretraining(photos, work_dir, **BATCH_OF_TWO), ranks=2, resume="auto")
    assert losses(work_dir) == losses(tmp_path / "whole")


def test_checkpoints_by_time_replace_each_other(photos, tmp_path, whole):
    cfg = slow(pretraining(photos, tmp_path / "run"))
    for hook in cfg.custom_hooks:
        if hook["type"] == "SafePointHook":
            hook["minutes"] = 0.4 / 60
    run = start(cfg)
    run.wait_for("Epoch(train) [2][5/6]")
    run.signal(signal.SIGKILL)
    run.wait()
    found = checkpoints(tmp_path / "run")
    assert len([name for name in found if name.startswith("iter")]) == 1
    train(pretraining(photos, tmp_path / "run"), resume="auto")
    assert losses(tmp_path / "run") == whole


def fake(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
    (folder / name).chmod(0o755)


def slurm(tmp_path, **more):
    """tools/slurm_train.sh with srun and scontrol replaced by scripts that note how they are called."""
    calls, bin_dir = tmp_path / "calls", tmp_path / "bin"
    # The first call ends "to be continued", the second one well.
    fake(bin_dir, "srun", f'echo "srun $*" >> {calls}; [ $(wc -l < {calls}) -gt 1 ] || exit 75')
    fake(bin_dir, "scontrol", f'echo "scontrol $*" >> {calls}')
    environment = {**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}", "PYTHON": sys.executable}
    command = ["tools/slurm_train.sh", "gpu", "job", "mae/vit-b", "work", "--amp"]
    result = subprocess.run(command, cwd=ROOT, env={**environment, **more}, check=False)
    return result.returncode, calls.read_text().splitlines()


def test_slurm_requeues_a_batch_job_and_resumes_it(tmp_path):
    code, (first, second) = slurm(tmp_path, SLURM_JOB_ID="7")
    assert code == 0
    assert "--signal=USR1@120" in first
    assert "--resume" not in first
    assert second == "scontrol requeue 7"
    (tmp_path / "calls").write_text("")
    code, (again, *_) = slurm(tmp_path, SLURM_JOB_ID="7", SLURM_RESTART_COUNT="1")
    assert "--launcher=slurm --resume --amp" in again


def test_slurm_starts_again_what_is_no_batch_job(tmp_path):
    code, (first, second) = slurm(tmp_path)
    assert code == 0
    assert "--resume" not in first
    assert "--resume" in second


@pytest.mark.slow
def test_dist_train_returns_that_the_run_is_to_be_continued(photos, tmp_path):
    work_dir = tmp_path / "run"
    cfg = slow(pretraining(photos, work_dir, **BATCH_OF_TWO))
    cfg.custom_imports = dict(imports=["mmmim", "tests.reliability.runs"])
    cfg.dump(tmp_path / "config.py")
    environment = {**os.environ, "PYTHON": sys.executable, "PORT": "29617", "PYTHONPATH": str(ROOT)}
    command = ["tools/dist_train.sh", str(tmp_path / "config.py"), "2", "--work-dir", str(work_dir)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        import time

        for _ in range(600):
            if "Epoch(train) [1][2/6]" in (tmp_path / "log").read_text():
                break
            time.sleep(0.2)
        second = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert "port 29617 is in use" in second.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 75, (tmp_path / "log").read_text()[-3000:]
    assert len(checkpoints(work_dir)) >= 1
