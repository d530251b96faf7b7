"""Checkpoints when a signal or the clock asks for one."""

import time
from typing import Any

import torch
import torch.distributed
from mmengine.dist import get_world_size
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner

from mmmim.engine.hooks.checkpoint import CheckpointHook, steps_per_update
from mmmim.engine.signals import DeafWorker, ToBeContinued, received_signal
from mmmim.registry import HOOKS

NOTHING, SAVE, STOP = range(3)


@HOOKS.register_module()
class SafePointHook(Hook):
    """Writes a checkpoint at the end of a step if a signal came, and stops the run; or every M minutes.

    All ranks stop after the same step: they agree by a reduction on the CPU that runs beside the next
    step, so several ranks stop one step later than one. With accumulated gradients, the checkpoint
    waits for the end of the update.

    Args:
        minutes: time between checkpoints, beside those of CheckpointHook; None writes none. The first
            rank whose time is over decides.

    Raises:
        ValueError: `minutes` is not positive.
    """

    priority = "LOWEST"  # after the schedules and the log of the step

    def __init__(self, minutes: float | None = None) -> None:
        if minutes is not None and minutes <= 0:
            raise ValueError(f"SafePointHook: minutes must be positive, got {minutes}")
        self.minutes = minutes
        self._asked = NOTHING
        self._is_training = False

    def before_train(self, runner: Runner) -> None:
        self._last = time.monotonic()
        self._agreement = _Agreement()
        self._asked = NOTHING
        self._is_training = True
        self._checkpoints = next(hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
        if runner.message_hub.runtime_info.get("validation_pending"):
            runner.message_hub.update_info("validation_pending", False)
            runner.val_loop.run()
        for loop in (runner.train_loop, runner.val_loop):
            if loop is not None:
                loop.dataloader.worker_init_fn = DeafWorker(loop.dataloader.worker_init_fn)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._asked = max(self._asked, self._agreement.exchange(self._wanted()))
        is_update = (runner.iter + 1) % steps_per_update(runner) == 0
        if self._asked == NOTHING or not (is_update or self.is_last_train_iter(runner)):
            return
        self._finish(runner, runner.iter + 1)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        # Ranks may have other numbers of validation batches, so several stop after the validation.
        if self._is_training and get_world_size() == 1 and received_signal() is not None:
            runner.logger.warning("the validation is cut off; the resumed run begins with it")
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):  # averages are in the model during a validation
                    hook._swap_ema_parameters()
            runner.message_hub.update_info("validation_pending", True)
            self._asked = STOP
            self._finish(runner, runner.iter)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if not self._is_training:
            return
        for _ in range(2):  # the second call returns what the ranks gave to the first
            self._asked = max(self._asked, self._agreement.exchange(self._wanted()))
        if self._asked == STOP:
            self._finish(runner, runner.iter)

    def after_train(self, runner: Runner) -> None:
        self._is_training = False

    def _wanted(self) -> int:
        if received_signal() is not None:
            return STOP
        if self.minutes is not None and time.monotonic() - self._last > 60 * self.minutes:
            self._last = time.monotonic()
            return SAVE
        return NOTHING

    def _finish(self, runner: Runner, steps: int) -> None:
        """Write the checkpoint that was asked for, and stop if a signal asked for it."""
        name = self._checkpoints.save_step(runner, steps)
        if self._asked == STOP:
            runner.logger.warning(f"stopped by a signal; continue with --resume, from '{name}'")
            self._agreement.wait()  # a launcher ends all ranks when the first has ended
            raise ToBeContinued
        self._asked = NOTHING
        self._last = time.monotonic()  # also on ranks whose time was not over
        runner.logger.info(f"the newest checkpoint is '{name}'")


class _Agreement:
    """The largest number of all ranks, exchanged beside the next step."""

    def __init__(self) -> None:
        self._pending: tuple[Any, torch.Tensor] | None = None
        several = get_world_size() > 1
        self._group = torch.distributed.new_group(backend="gloo") if several else None

    def exchange(self, number: int) -> int:
        """Give a number, and get the maximum of those that all ranks gave at the call before."""
        if self._group is None:
            return number
        found = NOTHING
        if self._pending is not None:
            work, largest = self._pending
            work.wait()
            found = int(largest)
        largest = torch.tensor(number)
        maximum = torch.distributed.ReduceOp.MAX
        work = torch.distributed.all_reduce(largest, maximum, group=self._group, async_op=True)
        self._pending = (work, largest)
        return found

    def wait(self) -> None:
        """Wait for all ranks."""
        if self._group is not None:
            torch.distributed.barrier(group=self._group)
