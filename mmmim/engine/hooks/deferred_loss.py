"""Losses for the log, without a host-device sync in every step."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import CheckpointHook, Hook, LoggerHook
from mmengine.runner import Runner
from torch import Tensor

from mmmim.registry import HOOKS


@dataclass
class Record:
    """A step that was logged.

    Attributes:
        iteration: number of the step, from 0.
        mean: its losses, averaged over the ranks.
        own: its losses on this rank.
        measured: numbers of the watcher.
    """

    iteration: int
    mean: dict[str, float]
    own: dict[str, float]
    measured: list[float]


class Watcher(Protocol):
    """Gets numbers of its own to the host together with the losses."""

    def measure(self) -> Tensor:
        """Numbers of the step that ended, on the device, (N,)."""

    def is_skipped(self, record: Record) -> bool:
        """Whether the losses of a step are left out of the log."""

    def see(self, runner: Runner, records: list[Record]) -> None:
        """The steps that are logged now."""


@HOOKS.register_module()
class DeferredLossHook(Hook):
    """Buffers losses on the device and logs them every `interval` steps, averaged over processes.

    mmengine syncs for each value in each step and logs those of rank 0. This hook keeps them on the
    device until the logger or a checkpoint is due, and then moves all with one reduction and one copy.

    Args:
        interval: largest number of steps to buffer.

    Attributes:
        watcher: a hook whose numbers are moved with the losses.
    """

    priority = "HIGHEST"  # before RuntimeInfoHook reads the outputs

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval
        self.watcher: Watcher | None = None
        self._names: list[str] = []
        self._kept: list[Tensor] = []
        self._iterations: list[int] = []
        self._readers: list[int] = []

    def before_train(self, runner: Runner) -> None:
        self._readers = [
            hook.interval
            for hook in runner.hooks
            if isinstance(hook, LoggerHook) or (isinstance(hook, CheckpointHook) and not hook.by_epoch)
        ]

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        tensors = {k: v for k, v in (outputs or {}).items() if isinstance(v, Tensor)}
        if not tensors:
            return
        names = list(tensors)
        if names != self._names:
            self.flush(runner)
            self._names = names
        values = torch.stack([v.detach().float() for v in tensors.values()])
        if self.watcher is not None:
            values = torch.cat([values, self.watcher.measure().to(values.device)])
        self._kept.append(values)
        self._iterations.append(runner.iter)
        for name in names:
            del outputs[name]  # or mmengine would sync for it
        if len(self._kept) >= self.interval or self._is_due(runner, batch_idx):
            self.flush(runner)

    def _is_due(self, runner: Runner, batch_idx: int) -> bool:
        """Whether a reader is due; readers count within an epoch or from the start."""
        return self.end_of_epoch(runner.train_dataloader, batch_idx) or any(
            self.every_n_inner_iters(batch_idx, n) or self.every_n_train_iters(runner, n)
            for n in self._readers
        )

    def flush(self, runner: Runner) -> None:
        """Move the buffered losses into the log history. All ranks call it."""
        if not self._kept:  # nothing is buffered, as before the first step
            return
        values = torch.stack(self._kept)
        count = len(self._names)
        mean = values[:, :count].clone()
        if get_world_size() > 1:
            all_reduce(mean, op="mean")
        records = []
        for iteration, row in zip(self._iterations, torch.cat([mean, values], 1).tolist(), strict=True):
            means = dict(zip(self._names, row[:count], strict=True))
            own = dict(zip(self._names, row[count : 2 * count], strict=True))
            record = Record(iteration, means, own, row[2 * count :])
            records.append(record)
            if self.watcher is not None and self.watcher.is_skipped(record):
                continue
            for name, value in means.items():
                # One NaN would make the averages of the log NaN for a whole window.
                if math.isfinite(value) or self.watcher is None:
                    runner.message_hub.update_scalar(f"train/{name}", value)
        self._kept, self._iterations = [], []
        if self.watcher is not None:
            self.watcher.see(runner, records)


def flush_losses(runner: Runner) -> None:
    """Move the losses that are still on the device into the log history. All ranks call it."""
    for hook in runner.hooks:
        if isinstance(hook, DeferredLossHook):
            hook.flush(runner)
