"""What waits for ever ends in bounded time, on all ranks, with the reason."""

import multiprocessing
import os
import re
import signal
import time
from types import SimpleNamespace

import pytest

from mmmim.engine.failures import explained
from mmmim.engine.hooks.watchdog import EXIT_CODE, WatchdogHook
from tests.reliability.runs import pretraining, start, train
from tests.reliability.test_resume import checkpoints, slow

BATCH_OF_TWO = {"train_dataloader.batch_size": 2}


def impatient(cfg, seconds=3):
    for hook in cfg.custom_hooks:
        if hook["type"] == "WatchdogHook":
            hook["minutes"] = seconds / 60
    return cfg


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def test_a_stopped_worker_ends_the_run(photos, tmp_path):
    run = start(impatient(slow(pretraining(photos, tmp_path / "run"))))
    run.wait_for("Epoch(train) [2][1/6]")
    workers = children(run.pids[0])
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    assert run.wait(20) == [EXIT_CODE]
    assert re.search(r"waited 0\.05 minutes for the next batch.*Worker \d+ is stopped", run.text())
    assert "--resume" in run.text()
    time.sleep(0.2)
    assert not [worker for worker in workers if os.path.exists(f"/proc/{worker}/fd/0")]
    assert checkpoints(tmp_path / "run") == ["epoch_1.pth"]
    train(pretraining(photos, tmp_path / "run"), resume="auto")


def test_a_stopped_rank_ends_the_others(photos, tmp_path):
    run = start(impatient(slow(pretraining(photos, tmp_path / "run", **BATCH_OF_TWO))), ranks=2)
    run.wait_for("Epoch(train) [2][1/6]")
    os.kill(run.pids[1], signal.SIGSTOP)
    end = time.monotonic() + 20
    while run.pids[0] not in run.codes and time.monotonic() < end:
        run._poll()
        time.sleep(0.05)
    assert run.codes[run.pids[0]] == EXIT_CODE
    assert re.search(r"rank 0 waited 0\.05 minutes for", run.text())
    os.kill(run.pids[1], signal.SIGKILL)
    run.wait()


def test_a_killed_worker_ends_the_run(photos, tmp_path):
    run = start(slow(pretraining(photos, tmp_path / "run")))
    run.wait_for("Epoch(train) [2][1/6]")
    os.kill(children(run.pids[0])[0], signal.SIGKILL)
    assert run.wait(20) == [1]
    assert "is killed by signal" in run.text()


def test_a_killed_run_leaves_no_workers(photos, tmp_path):
    run = start(slow(pretraining(photos, tmp_path / "run")))
    run.wait_for("Epoch(train) [1][2/6]")
    workers = children(run.pids[0])
    run.signal(signal.SIGKILL)
    run.wait()
    time.sleep(0.5)
    assert workers
    assert not [worker for worker in workers if os.path.exists(f"/proc/{worker}/fd/0")]


def test_a_worker_that_is_killed_while_it_passes_a_batch_on_is_named():
    here, there = multiprocessing.Pipe()
    there.close()
    cure = r"worker of the data loader is killed.*--resume"
    with pytest.raises(RuntimeError, match=cure), explained():
        here.recv()
    with pytest.raises(EOFError), explained():
        raise EOFError


def test_small_shared_memory_has_a_cure():
    said = "unable to allocate shared memory(shm) for file </torch_1>: Success (0)"
    cure = r"/dev/shm has \d+ MB.*--shm-size=16g.*num_workers"
    with pytest.raises(RuntimeError, match=cure), explained():
        raise RuntimeError(said)
    with pytest.raises(RuntimeError, match=r"^other$"), explained():
        raise RuntimeError("other")


def test_a_run_that_moves_is_left_alone(photos, tmp_path):
    train(impatient(slow(pretraining(photos, tmp_path / "run"), seconds=0.2), seconds=2))


def test_a_watchdog_needs_time():
    with pytest.raises(ValueError, match="minutes must be positive"):
        WatchdogHook(minutes=0)
    hook = WatchdogHook()
    hook.after_run(SimpleNamespace())
