"""The images of an update: accumulated, described, and enough of them for batch statistics."""

from typing import Any

from mmengine import Config

from mmmim.engine.config import all_dicts
from mmmim.engine.schedule import scale_steps


def set_auto_scale_lr(cfg: Config) -> None:
    """`--auto-scale-lr`: scale the learning rate to the batch of this run.

    Raises:
        ValueError: the config does not state the batch that its learning rate is meant for.
    """
    if "base_batch_size" not in cfg.get("auto_scale_lr", {}):
        raise ValueError(_unknown_batch("--auto-scale-lr", cfg))
    cfg.auto_scale_lr.enable = True
    # mmengine compares it with the images per step, so divide by the steps per update.
    cfg.auto_scale_lr.base_batch_size /= cfg.optim_wrapper.get("accumulative_counts", 1)


def _unknown_batch(option: str, cfg: Config) -> str:
    return (
        f"{option}: '{cfg.filename}' does not state its batch. Add "
        "auto_scale_lr=dict(base_batch_size=N), with N the images per update, over all processes, "
        "that its learning rate is meant for"
    )


def set_keep_batch(cfg: Config, world_size: int) -> None:
    """`--keep-batch`: accumulate gradients up to the recipe's batch, on any number of processes.

    Recipes that count iterations are lengthened, since an update of n accumulated steps counts as n.

    Raises:
        ValueError: the recipe does not state its batch, or the images of one step do not divide it.
    """
    recipe = (cfg.get("auto_scale_lr") or {}).get("base_batch_size")
    if recipe is None:
        raise ValueError(_unknown_batch("--keep-batch", cfg))
    batch_size = cfg.train_dataloader.batch_size
    images = batch_size * world_size
    if recipe % images:
        cure = (
            f"use a number of processes that divides {recipe}"
            if recipe % world_size
            else f"set --batch-size to a divisor of {recipe // world_size}"
        )
        raise ValueError(
            f"the recipe's batch of {recipe} is not a multiple of {batch_size} images x {world_size} "
            f"processes = {images}: {cure}, or scale the learning rate instead (--auto-scale-lr)"
        )
    before = cfg.optim_wrapper.get("accumulative_counts", 1)
    cfg.optim_wrapper.accumulative_counts = recipe // images
    scale_steps(cfg, cfg.optim_wrapper.accumulative_counts / before)


def set_whole_updates(cfg: Config) -> None:
    """Let an epoch of pretraining consist of whole batches, and of whole updates if accumulated.

    A resumed run then loses no gradient. The rest of the epoch is dropped, as the official code drops
    its gradients (facebookresearch/mae engine_pretrain.py:34). `EpochSampler` raises if there is not
    one whole update.
    """
    loader: Any = cfg.get("train_dataloader") or {}
    steps = cfg.get("optim_wrapper", {}).get("accumulative_counts", 1)
    whole = steps > 1 or loader.get("drop_last", False)
    if whole and loader.get("sampler", {}).get("type") == "EpochSampler":
        loader.sampler.multiple = steps * loader.batch_size


def check_batch_norm(cfg: Config) -> None:
    """Refuse batch statistics over one image: torch stops where UperNet pools to one pixel.

    Raises:
        ValueError: one image per process with BN, or with SyncBN in a single process.
    """
    refused = {"BN", "SyncBN"} if cfg.launcher == "none" else {"BN"}
    norms = refused & {node.get("type") for node in all_dicts(cfg.model)}
    if norms and (cfg.get("train_dataloader") or {}).get("batch_size") == 1:
        raise ValueError(
            f"{', '.join(sorted(norms))} needs more than one image per process, got batch_size=1: set "
            "--batch-size 2 or more, or train in several processes with SyncBN"
        )


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
    recipe = scaling.get("base_batch_size", total)
    if scaling.get("enable"):
        return f"{line}, scaled by {images * world_size / recipe:g}"
    if recipe == total:
        return line
    return (
        f"{line}, meant for a batch of {recipe}. Accumulate gradients (--keep-batch) or scale the "
        "learning rate (--auto-scale-lr)" + _note_on_iterations(cfg, recipe / total)
    )


def _note_on_iterations(cfg: Config, factor: float) -> str:
    """Recipes that count iterations see fewer images in smaller batches."""
    if "max_iters" not in cfg.train_cfg:
        return ""
    return (
        f". With --auto-scale-lr, train_cfg.max_iters={cfg.train_cfg.max_iters} steps see "
        f"{1 / factor:g} of the recipe's images: multiply max_iters and the iterations of "
        f"param_scheduler by {factor:g}"
    )
