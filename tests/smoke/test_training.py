"""tools/ on synthetic scenes: two nodes, kill and resume."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.smoke.launching import (
    CONFIG,
    ROOT,
    call,
    environment,
    free_port,
    losses,
    pretrain_command,
    run,
)


def test_two_processes_give_the_losses_of_one(scenes, uninterrupted, tmp_path):
    """Two nodes, both of which are this machine."""
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


@pytest.mark.slow  # tests/reliability does it in forked processes
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
    assert "already holds checkpoints: continue them with --resume" in result.stderr
    assert (uninterrupted / "epoch_3.pth").stat().st_mtime_ns == before
