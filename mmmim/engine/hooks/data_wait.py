"""Warns when training waits for images, and names the setting to change."""

import os
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmmim.data import UnlabelledImages
from mmmim.registry import HOOKS


@HOOKS.register_module()
class DataWaitHook(Hook):
    """Warns once when the share of time that waits for data exceeds a limit.

    Reads the times that mmengine's IterTimerHook measures.

    Args:
        share: limit on the share of time.
        interval: iterations that are averaged, without the first of each epoch, in which the workers
            start.
    """

    def __init__(self, share: float = 0.1, interval: int = 100) -> None:
        self.share, self.interval = share, interval
        self._waited = self._total = 0.0
        self._count = 0
        self._warned = False

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if batch_idx == 0 or self._warned:
            return
        scalars = runner.message_hub.log_scalars
        self._waited += scalars["train/data_time"].current()
        self._total += scalars["train/time"].current()
        self._count += 1
        if self._count < self.interval:
            return
        waited = self._waited / self._total
        self._waited = self._total = self._count = 0
        if waited > self.share:
            self._warned = True
            runner.logger.warning(
                f"{waited:.0%} of the time is spent waiting for images. {_cure(runner)}"
            )


def _cure(runner: Runner) -> str:
    workers = runner.train_dataloader.num_workers
    # Processes of torchrun share the cores that they see; SLURM gives each process its own.
    neighbors = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    cores = max(len(os.sched_getaffinity(0)) // neighbors, 1)
    if workers < cores:
        return (
            f"This process has {cores} cores and {workers} workers: set --cfg-options "
            f"train_dataloader.num_workers={cores}"
        )
    cure = f"Its {cores} cores already have {workers} workers: store smaller images"
    if isinstance(runner.train_dataloader.dataset, UnlabelledImages):
        cure += (
            ", cache the decoded images if they fit into memory (train_dataloader.dataset.cache_gb), "
            "or repeat them (train_dataloader.sampler.repeats=2)"
        )
    return cure
