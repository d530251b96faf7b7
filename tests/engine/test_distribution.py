import os
from argparse import Namespace

import pytest
import torch

from mmmim.cli.arguments import set_local_rank
from mmmim.engine import distribution
from tests.engine.configs import config


def test_under_mpi_a_process_takes_the_gpu_that_mpi_gives_it(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "")
    monkeypatch.delenv("LOCAL_RANK")
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_RANK", "3")
    set_local_rank(Namespace(local_rank=0))
    assert os.environ["LOCAL_RANK"] == "3"


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests machines without a GPU")
def test_without_a_gpu_mpi_launches_nothing():
    with pytest.raises(ValueError, match=r"dist_train\.sh.*slurm_train\.sh.*got 'mpi'"):
        distribution.fit_to_cpu(config(launcher="mpi"))


def test_sync_bn_is_replaced_wherever_it_stands():
    model = dict(head=[dict(norm_cfg=dict(type="SyncBN", requires_grad=True))], neck=dict(type="FPN"))
    assert distribution.replace_sync_bn(model)
    assert model["head"][0]["norm_cfg"] == dict(type="BN", requires_grad=True)
    assert not distribution.replace_sync_bn(model)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, 1), (dict(WORLD_SIZE="16"), 16), (dict(SLURM_NTASKS="64"), 64)],
)
def test_the_number_of_processes_is_the_launchers(monkeypatch, variables, expected):
    for name in ("WORLD_SIZE", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert distribution.launched_processes("pytorch") == expected
    assert distribution.launched_processes("none") == 1


FSDP = dict(
    launcher="pytorch",
    custom_hooks=[dict(type="mmmim.PredictionHook"), dict(type="DeferredLossHook")],
    default_hooks=dict(teacher=dict(type="TeacherHook"), alignment=dict(type="AlignmentHook")),
)


def test_shared_out_weights_are_not_looked_at_on_the_way():
    cfg = config(**FSDP, load_from="epoch_3.pth", resume=True)  # --resume PATH
    distribution.set_fsdp(cfg)
    assert cfg.runner_type == "FlexibleRunner"
    assert [hook["type"] for hook in cfg.custom_hooks] == ["DeferredLossHook"]
    assert list(cfg.default_hooks) == ["teacher"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(launcher="none"), "dist_train"),
        (dict(load_from="weights.pth"), "--pretrained"),
        (dict(optim_wrapper=dict(clip_grad=dict(max_norm=1.0))), "gradient clipping.*max_norm"),
    ],
)
def test_what_shared_out_weights_do_not_go_with(changes, words):
    with pytest.raises(ValueError, match=words):
        distribution.set_fsdp(config(**{**FSDP, **changes}))
