"""The images of an update: accumulated, named, and enough of them for batch statistics."""

import os

from mmengine import Config

from mmmim.launch.model import all_dicts


def set_auto_scale_lr(cfg: Config) -> None:
    """`--auto-scale-lr`: scale the learning rate to the batch that this run really has.

    Raises:
        ValueError: the config does not say what batch its learning rate is meant for.
    """
    if "base_batch_size" not in cfg.get("auto_scale_lr", {}):
        raise ValueError("--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in the config")
    cfg.auto_scale_lr.enable = True
    # mmengine compares with the images of one step; ours are those of one update.
    cfg.auto_scale_lr.base_batch_size /= cfg.optim_wrapper.get("accumulative_counts", 1)


def set_keep_batch(cfg: Config, world_size: int) -> None:
    """`--keep-batch`: accumulate so that an update sees the recipe's batch on any number of GPUs.

    Raises:
        ValueError: the recipe counts iterations, or does not name its batch, or the images of one step
            do not divide it.
    """
    meant = (cfg.get("auto_scale_lr") or {}).get("base_batch_size")
    if meant is None:
        raise ValueError("--keep-batch needs auto_scale_lr=dict(base_batch_size=...) in the config")
    if "max_iters" in cfg.train_cfg:
        raise ValueError(
            "--keep-batch is for recipes that count epochs; this one counts iterations, before "
            "accumulation: in a copy of it set `gpus` and `accumulate`, by which it multiplies them"
        )
    batch = cfg.train_dataloader.batch_size
    images = batch * world_size
    if meant % images:
        cure = (
            f"{world_size} processes cannot share it equally; take a number of them that divides it"
            if meant % world_size
            else f"set train_dataloader.batch_size to a divisor of {meant // world_size}"
        )
        raise ValueError(
            f"--keep-batch: steps of {batch} images x {world_size} processes do not divide the "
            f"recipe's batch of {meant}: {cure}"
        )
    cfg.optim_wrapper.accumulative_counts = meant // images


def set_whole_updates(cfg: Config) -> None:
    """An epoch of pretraining has whole batches, and where they are accumulated, whole updates.

    A run that is resumed there has lost none, and what is left of the epoch is dropped, as the official
    code drops its gradients (facebookresearch/mae engine_pretrain.py:34). `EpochSampler` says so where
    there is not one.
    """
    loader = cfg.get("train_dataloader") or {}
    steps = cfg.get("optim_wrapper", {}).get("accumulative_counts", 1)
    whole = steps > 1 or loader.get("drop_last", False)
    if whole and loader.get("sampler", {}).get("type") == "EpochSampler":
        loader.sampler.multiple = steps * loader.batch_size


def check_batch_norm(cfg: Config) -> None:
    """Refuse to train batch statistics on one image: UperNet pools to one pixel, and torch stops there.

    Raises:
        ValueError: one image a process, and BN, or SyncBN in a single process.
    """
    refused = {"BN", "SyncBN"} if cfg.launcher == "none" else {"BN"}
    norms = refused & {node.get("type") for node in all_dicts(cfg.model)}
    if norms and (cfg.get("train_dataloader") or {}).get("batch_size") == 1:
        raise ValueError(
            f"{', '.join(sorted(norms))} needs more than one image to train on, got batch_size=1. Set "
            "train_dataloader.batch_size=2 or more, or train in several processes with SyncBN"
        )


def launched_processes() -> int:
    """Number of processes that torchrun, SLURM or MPI has started."""
    names = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
    return int(next((os.environ[name] for name in names if os.environ.get(name)), 1))


def describe_batch(cfg: Config, world_size: int) -> str:
    """The arithmetic of the global batch and the learning rate, in one line."""
    images = cfg.train_dataloader.batch_size
    steps = cfg.optim_wrapper.get("accumulative_counts", 1)
    total = images * world_size * steps
    line = (
        f"batch: {images} images x {world_size} processes x {steps} accumulated = {total}; "
        f"learning rate {cfg.optim_wrapper.optimizer.lr:g}"
    )
    scaling = cfg.get("auto_scale_lr") or {}
    meant = scaling.get("base_batch_size", total)
    if scaling.get("enable"):
        return f"{line}, scaled by {images * world_size / meant:g}"
    if meant == total:
        return line
    by_flag = "" if "max_iters" in cfg.train_cfg else "--keep-batch, or "
    return (
        f"{line}, meant for a batch of {meant}. Accumulate ({by_flag}--cfg-options "
        f"optim_wrapper.accumulative_counts={max(round(meant / (images * world_size)), 1)}) or "
        "scale the rate (--auto-scale-lr)" + _note_on_iterations(cfg, meant / total)
    )


def _note_on_iterations(cfg: Config, factor: float) -> str:
    """Iterations are counted in steps, not in images."""
    if "max_iters" not in cfg.train_cfg:
        return ""
    return (
        f". Either way train_cfg.max_iters={cfg.train_cfg.max_iters} steps see {1 / factor:g} of the "
        f"recipe's images: multiply max_iters and the iterations of param_scheduler by {factor:g}"
    )
