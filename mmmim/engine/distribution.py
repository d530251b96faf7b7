"""Several processes, with GPUs and without."""

import inspect
import os
import subprocess
from typing import Any

import torch
from mmengine import Config
from mmengine.logging import print_log

from mmmim.engine.config import all_dicts
from mmmim.registry import HOOKS


def launched_processes(launcher: str) -> int:
    """Number of processes that torchrun, SLURM or MPI started."""
    if launcher == "none":
        return 1
    names = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
    return int(next((os.environ[name] for name in names if os.environ.get(name)), 1))


def launched_rank() -> int:
    """Rank of this process, before a process group exists."""
    names = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")
    return int(next((os.environ[name] for name in names if os.environ.get(name)), 0))


def set_ddp(cfg: Config) -> None:
    """DDP with `gradient_as_bucket_view`, which saves one copy of the gradients.

    No method has unused parameters, so the search for them is off unless the config turns it on.
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
    """`--fsdp`: shard weights, gradients and moments over the processes, block by block.

    Raises:
        ValueError: a single process; `load_from`, which is read before weights are sharded; clipping.
    """
    if cfg.launcher == "none":
        raise ValueError("--fsdp shards weights over processes: start several with tools/dist_train.sh")
    if cfg.get("load_from") and not cfg.get("resume"):
        raise ValueError("--fsdp does not support load_from: start the encoder with --pretrained")
    if cfg.optim_wrapper.get("clip_grad"):
        raise ValueError(
            "--fsdp does not support gradient clipping, since each rank sees only its shard's norm: "
            f"remove --fsdp or optim_wrapper.clip_grad={dict(cfg.optim_wrapper.clip_grad)}"
        )
    cfg.runner_type, cfg.strategy = "FlexibleRunner", dict(type="BlockFSDPStrategy")
    custom, default = cfg.get("custom_hooks") or [], cfg.get("default_hooks") or {}
    dropped = [h["type"] for h in (*custom, *default.values()) if _calls_model_parts(h)]
    cfg.custom_hooks = [hook for hook in custom if not _calls_model_parts(hook)]
    cfg.default_hooks = {k: hook for k, hook in default.items() if not _calls_model_parts(hook)}
    if dropped:
        print_log(f"--fsdp: without {', '.join(dropped)}, which call parts of the model", "current")


def _calls_model_parts(hook: dict[str, Any] | None) -> bool:
    """Whether a hook calls parts of the model, whose weights FSDP gathers only for the whole model."""
    built: Any = HOOKS.get(hook["type"]) if hook else None
    return built is not None and getattr(inspect.unwrap(built), "calls_model_parts", False)


def fit_to_cpu(cfg: Config) -> None:
    """Let a config for several GPUs run without one, in one process or several."""
    if cfg.launcher == "none":
        return
    if not torch.distributed.is_initialized():
        # mmengine's own initialization calls torch.cuda.set_device, for gloo too; it is skipped if a
        # process group exists.
        torch.distributed.init_process_group("gloo", **_rendezvous(cfg.launcher))
    if "model_wrapper_cfg" in cfg:
        cfg.model_wrapper_cfg.device_ids = None
    if replace_sync_bn(cfg.model):
        print_log("no GPU: SyncBN becomes BN, with statistics per process", logger="current")


def replace_sync_bn(model: dict[str, Any]) -> bool:
    """Turn every dict(type="SyncBN") of a model's config into BN -> whether there was one."""
    found = [node for node in all_dicts(model) if node.get("type") == "SyncBN"]
    for node in found:
        node["type"] = "BN"
    return bool(found)


def _rendezvous(launcher: str) -> dict[str, Any]:
    """Arguments of `init_process_group`.

    torchrun sets them in the environment. SLURM's variables are read as mmengine reads them on GPUs
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
