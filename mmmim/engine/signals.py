"""Signals ask a run to stop at a point from which it continues exactly."""

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# SLURM sends SIGUSR1 before the time limit (`--signal`) and SIGTERM at it; Ctrl-C is SIGINT; a closed
# terminal is SIGHUP.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
# Exit code of a run that stopped on a signal and is to be continued with --resume: EX_TEMPFAIL.
TO_BE_CONTINUED = 75

# A launcher and the system may both deliver a signal; a second one counts after this many seconds.
REPEATED = 1.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h: the signal that a process gets when its parent ends

_received: signal.Signals | None = None
_received_at = 0.0
_owner = 0


class ToBeContinued(SystemExit):
    """The run stopped on a signal, with a checkpoint."""

    def __init__(self) -> None:
        super().__init__(TO_BE_CONTINUED)


def received_signal() -> signal.Signals | None:
    """The signal that asked this process to stop, if one did."""
    return _received


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Note the first signal for the end of the step; let a second one end the process at once."""
    global _received, _owner
    _received, _owner = None, os.getpid()
    try:
        before = {number: signal.signal(number, _note) for number in SIGNALS}
    except ValueError:  # not in the main thread, where Python allows no handlers
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _note(number: int, frame: FrameType | None) -> None:
    global _received, _received_at
    if os.getpid() != _owner:  # a worker, which was forked
        return
    if _received is None:
        _received, _received_at = signal.Signals(number), time.monotonic()
        name = _received.name
        os.write(2, f"{name}: the run ends after a checkpoint; a second signal ends it now\n".encode())
    elif time.monotonic() - _received_at > REPEATED:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def end_with_parent() -> None:
    """Let the system kill this process when its parent ends, however that ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class DeafWorker:
    """Lets a worker of a data loader survive a signal to all processes of its run, but not the run.

    Without the run, torch's workers can wait for ever for a reader of their batches.

    Args:
        initialize: the loader's own `worker_init_fn`.
    """

    def __init__(self, initialize: Callable[[int], None] | None) -> None:
        self._initialize = initialize

    def __call__(self, worker: int) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        end_with_parent()
        if self._initialize is not None:
            self._initialize(worker)
