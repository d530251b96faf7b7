"""Several processes, with GPUs and without."""

import os
import subprocess

import torch
from mmengine import Config
from mmengine.logging import print_log

from mmmim.launch.model import replace_sync_bn

# Hooks that call a method's parts, which FSDP gathers for the whole of it alone.
LOOKERS = ("PredictionHook", "AlignmentHook", "NearestNeighbourHook", "SegmentationProbeHook")


def set_ddp(cfg: Config) -> None:
    """DDP whose gradients live in its buckets: the memory of one copy of all weights less.

    No search for unused parameters unless the config asks: no method has any. A static graph would add
    nothing to that.
    """
    if cfg.launcher == "none" or "model_wrapper_cfg" in cfg or "runner_type" in cfg:
        return
    cfg.model_wrapper_cfg = dict(
        type="MMDistributedDataParallel",
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
        find_unused_parameters=cfg.get("find_unused_parameters", False),
    )


def set_fsdp(cfg: Config) -> None:
    """`--fsdp`: weights, gradients and moments are shared out over the processes, block by block.

    Raises:
        ValueError: one process; `load_from`, which is read before weights are shared out; clipping,
            of which each process would know its own share of the norm alone.
    """
    if cfg.launcher == "none":
        raise ValueError("--fsdp shares weights out over processes: start them by tools/dist_train.sh")
    if cfg.get("load_from") and not cfg.get("resume"):
        raise ValueError("--fsdp does not take load_from; start an encoder with --pretrained")
    if cfg.optim_wrapper.get("clip_grad"):
        raise ValueError(
            "--fsdp does not clip gradients, got optim_wrapper.clip_grad="
            f"{dict(cfg.optim_wrapper.clip_grad)}: leave one of them out"
        )
    cfg.runner_type, cfg.strategy = "FlexibleRunner", dict(type="BlockFSDPStrategy")
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if not _looks(hook)]
    cfg.default_hooks = {k: hook for k, hook in cfg.default_hooks.items() if not _looks(hook)}


def _looks(hook: dict | None) -> bool:
    return hook is not None and hook["type"].rpartition(".")[2] in LOOKERS


def fit_to_cpu(cfg: Config) -> None:
    """Make a config written for GPUs run without one, in one process or several."""
    if cfg.launcher == "none":
        return
    if not torch.distributed.is_initialized():
        # mmengine's own initialisation calls torch.cuda.set_device, also for gloo; it skips
        # itself where a process group exists.
        torch.distributed.init_process_group("gloo", **_rendezvous(cfg.launcher))
    if "model_wrapper_cfg" in cfg:
        cfg.model_wrapper_cfg.device_ids = None
    if replace_sync_bn(cfg.model):
        print_log("no GPU: SyncBN becomes BN, with statistics per process", logger="current")


def _rendezvous(launcher: str) -> dict:
    """Who meets where, as `init_process_group` takes it.

    torchrun says it in the environment. Of SLURM it is read as mmengine reads it on GPUs
    (mmengine/dist/utils.py, _init_dist_slurm).
    """
    if launcher == "pytorch":
        return {}
    if launcher == "slurm":
        nodes = os.environ["SLURM_NODELIST"]
        first = f"scontrol show hostname {nodes} | head -n1"
        address = os.environ.get("MASTER_ADDR") or subprocess.getoutput(first)
        return dict(
            init_method=f"tcp://{address}:{os.environ.get('MASTER_PORT', 29500)}",
            rank=int(os.environ["SLURM_PROCID"]),
            world_size=int(os.environ["SLURM_NTASKS"]),
        )
    raise ValueError(
        "without a GPU only the launchers 'pytorch' (tools/dist_train.sh) and 'slurm' "
        f"(tools/slurm_train.sh) are supported, got '{launcher}'"
    )
