"""Ends a run that waits for ever."""

import faulthandler
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmmim.registry import HOOKS

EXIT_CODE = 76  # of a run that the watchdog ended
LOG_SECONDS = 5.0  # for the last line of the log


@HOOKS.register_module()
class WatchdogHook(Hook):
    """Ends the process if nothing moves for a while, with what it waited for and the cure.

    A stopped worker, a stopped rank and a file system that does not answer all look the same from
    outside: the next step does not come. The launcher then ends the other ranks.

    Args:
        minutes: longest time without a step of training or validation. It includes the compilation of
            the first step, the writing of a checkpoint and the evaluation.

    Raises:
        ValueError: `minutes` is not positive.
    """

    priority = "VERY_HIGH"

    def __init__(self, minutes: float = 30) -> None:
        if minutes <= 0:
            raise ValueError(f"WatchdogHook: minutes must be positive, got {minutes}")
        self.minutes = minutes
        self._ended = threading.Event()

    def before_train(self, runner: Runner) -> None:
        self._ended = threading.Event()
        self._move("the first batch (workers that read images)")
        threading.Thread(target=self._watch, args=(runner, self._ended), daemon=True).start()

    def after_train(self, runner: Runner) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop watching, at the end of a run or after its error."""
        self._ended.set()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self._move(f"training step {runner.iter + 1} (other ranks, if there are several, or the GPU)")

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._move("the next batch, a checkpoint, or other ranks")

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._move("validation (workers that read images, or other ranks)")

    def _move(self, waiting_for: str) -> None:
        self._since, self._waiting_for = time.monotonic(), waiting_for

    def _watch(self, runner: Runner, ended: threading.Event) -> None:
        while not ended.wait(min(1.0, self.minutes * 6)):
            if time.monotonic() - self._since > 60 * self.minutes:
                self._end(runner)

    def _end(self, runner: Runner) -> None:
        message = (
            f"rank {runner.rank} waited {self.minutes:g} minutes for {self._waiting_for}, and ends. "
            f"{describe_workers()}Check the disk or network of the data set and the other ranks, then "
            "continue with --resume; if a step really takes longer, raise `minutes` of WatchdogHook in "
            "custom_hooks"
        )
        os.write(2, f"{message}\n".encode())
        # The log file may be on the disk that does not answer.
        logging = threading.Thread(target=runner.logger.error, args=(message,), daemon=True)
        logging.start()
        logging.join(LOG_SECONDS)
        faulthandler.dump_traceback(sys.stderr)
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(EXIT_CODE)


@contextmanager
def watched(runner: Runner) -> Iterator[None]:
    """Stop the watchdog of a run when the block ends, also by an error."""
    try:
        yield
    finally:
        for hook in runner.hooks:
            if isinstance(hook, WatchdogHook):
                hook.stop()


# Letters of /proc/PID/stat (proc(5)).
STATES = {"T": "stopped", "D": "waiting for a disk or network", "Z": "dead"}


def describe_workers() -> str:
    """What workers that are neither running nor asleep do, as sentences; empty if there are none."""
    found = []
    for child in multiprocessing.active_children():
        try:
            with open(f"/proc/{child.pid}/stat", encoding="ascii", errors="replace") as file:
                state = file.read().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state in STATES:
            found.append(f"Worker {child.pid} is {STATES[state]}. ")
    return "".join(found)
