"""Says when training waits for its images, and what to change."""

import os

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmmim.data import UnlabelledImages
from mmmim.registry import HOOKS


@HOOKS.register_module()
class DataWaitHook(Hook):
    """Warns once when more than a share of the time went into waiting for data.

    Reads the times that mmengine's IterTimerHook takes.

    Args:
        share: of the time.
        interval: iterations that are looked at together; the first of an epoch is left out, for its
            workers start then.
    """

    def __init__(self, share: float = 0.1, interval: int = 100) -> None:
        self.share, self.interval = share, interval
        self._waited = self._total = 0.0
        self._count = 0
        self._said = False

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if batch_idx == 0 or self._said:
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
            self._said = True
            runner.logger.warning(f"{waited:.0%} of the time waits for images. {_cure(runner)}")


def _cure(runner: Runner) -> str:
    workers = runner.train_dataloader.num_workers
    # Processes of torchrun share the cores that they see; SLURM gives each its own.
    neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    cores = max(len(os.sched_getaffinity(0)) // neighbours, 1)
    if workers < cores:
        return (
            f"This process has {cores} cores and {workers} workers: --cfg-options "
            f"train_dataloader.num_workers={cores}"
        )
    cure = f"Its {cores} cores have {workers} workers: store smaller images"
    if isinstance(runner.train_dataloader.dataset, UnlabelledImages):
        cure += (
            ", decode once, where they fit into memory (train_dataloader.dataset.cache_gb), or repeat "
            "them (train_dataloader.sampler.repeats=2)"
        )
    return cure
