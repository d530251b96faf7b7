"""Losses for the log, without a host-device sync in every step."""

from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import CheckpointHook, Hook, LoggerHook
from mmengine.runner import Runner
from torch import Tensor

from mmmim.registry import HOOKS


@HOOKS.register_module()
class DeferredLossHook(Hook):
    """Buffers losses on the device and logs them every `interval` steps, averaged over processes.

    mmengine syncs for each value in each step and logs those of rank 0. This hook keeps them on the
    device until the logger or a checkpoint is due, and then moves all with one reduction and one copy.

    Args:
        interval: largest number of steps to buffer.
    """

    priority = "HIGHEST"  # before RuntimeInfoHook reads the outputs

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval
        self._names: list[str] = []
        self._kept: list[Tensor] = []
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
            self._flush(runner)
            self._names = names
        self._kept.append(torch.stack([v.detach().float() for v in tensors.values()]))
        for name in names:
            del outputs[name]  # or mmengine would sync for it
        if len(self._kept) >= self.interval or self._is_due(runner, batch_idx):
            self._flush(runner)

    def _is_due(self, runner: Runner, batch_idx: int) -> bool:
        """Whether a reader is due; readers count within an epoch or from the start."""
        return self.end_of_epoch(runner.train_dataloader, batch_idx) or any(
            self.every_n_inner_iters(batch_idx, n) or self.every_n_train_iters(runner, n)
            for n in self._readers
        )

    def _flush(self, runner: Runner) -> None:
        if not self._kept:  # the names change in the first step
            return
        values = torch.stack(self._kept)
        if get_world_size() > 1:
            all_reduce(values, op="mean")
        for row in values.tolist():
            for name, value in zip(self._names, row, strict=True):
                runner.message_hub.update_scalar(f"train/{name}", value)
        self._kept = []
