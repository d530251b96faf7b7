"""Every method in several processes, and the scripts for SLURM."""

import sys
from pathlib import Path

import pytest
import torch

from tests.smoke.launching import ONE_EPOCH, call, free_port, losses, run, run_ranks
from tests.smoke.train_methods import METHODS

SCRIPT = Path(__file__).with_name("train_methods.py")
OPTIONS = {
    "one process": [],
    "DDP": ["--launcher", "pytorch"],
    "FSDP": ["--launcher", "pytorch", "--fsdp"],
    "compiled": ["--launcher", "pytorch", "--compile"],
}


@pytest.fixture(scope="module")
def every_method(scenes, small_teacher, tmp_path_factory):
    """A function that trains all methods in one process, or in two with a resume -> their folder."""
    teacher = dict(TEACHER=str(small_teacher))
    folders = {}

    def trained(how: str) -> Path:
        if how not in folders:  # failed runs are not repeated
            folders[how] = tmp_path_factory.mktemp(how.replace(" ", "_"))
            command = [SCRIPT, folders[how], *OPTIONS[how]]
            if how == "compiled":  # torch's compiler starts processes, and hangs in a fork
                torchrun = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port"]
                result = run([sys.executable, *torchrun, free_port(), *command], scenes, **teacher)
            else:
                ranks = 1 if how == "one process" else 2
                result = run_ranks(command, ranks, scenes, **teacher)
            assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
        return folders[how]

    return trained


@pytest.mark.parametrize("how", ["DDP", "FSDP", pytest.param("compiled", marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_in_two_resumed_processes_trains_as_in_one(every_method, method, how):
    """Compares losses, weights and the optimizer's moments."""
    one, two = (
        torch.load(every_method(name) / method / "epoch_2.pth", weights_only=False)
        for name in ("one process", how)
    )
    began = every_method("one process") / method / "epoch_1.pth"
    began = torch.load(began, weights_only=False)["state_dict"]
    history = [c["message_hub"]["log_scalars"]["train/loss"]["log"] for c in (one, two)]
    if method == "MixMIM":  # one process accumulates two batches per update
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


def test_mixmim_trains_under_slurm_in_odd_batches(scenes, slurm, tmp_path):
    """24 images per process make batches of 7, 7, 7 and 3."""
    options = [*ONE_EPOCH, "train_dataloader.batch_size=7", "train_dataloader.drop_last=False"]
    command = ["tools/slurm_train.sh", "some", "job", "configs/tiny/mixmim_scenes.py", tmp_path]
    call([*command, "--cfg-options", *options], scenes, **slurm)
    found = losses(tmp_path)
    assert list(found) == [1, 2, 3, 4]
    assert all(0 < loss < 3 for loss in found.values())
