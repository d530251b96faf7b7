"""What happened, and the cure, for errors that come from below this project."""

import contextlib
import multiprocessing
import os
import shutil
import traceback
from collections.abc import Iterator

SHARED_MEMORY = "/dev/shm"
# Parts of torch's messages (aten/src/ATen/MapAllocator.cpp, torch/csrc/DataLoader.cpp).
SHARED_MEMORY_ERRORS = (
    "unable to allocate shared memory",
    "unable to open shared memory object",
    "out of shared memory",
    "insufficient shared memory",
    "Bus error",
)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Add a cure to errors of the system that do not name one.

    Raises:
        RuntimeError: shared memory is too small for the workers, or a worker was killed.
    """
    try:
        yield
    except (EOFError, ConnectionError) as error:
        if not _comes_from_worker(error):
            raise
        raise RuntimeError(
            "a worker of the data loader is killed by signal while it passed a batch on, often because "
            "memory ran out (see dmesg). Continue with --resume, and set --cfg-options "
            "train_dataloader.num_workers to fewer if it happens again"
        ) from error
    except (RuntimeError, OSError) as error:
        message = str(error)
        if any(part in message for part in SHARED_MEMORY_ERRORS) and os.path.isdir(SHARED_MEMORY):
            usage = shutil.disk_usage(SHARED_MEMORY)
            raise RuntimeError(
                f"the workers of the data loader ran out of shared memory: {SHARED_MEMORY} has "
                f"{usage.total / 1e6:.0f} MB, {usage.free / 1e6:.0f} MB free. Give a container more "
                "(docker run --shm-size=16g), or set --cfg-options train_dataloader.num_workers to "
                f"fewer or 0. The error was: {message:.300}"
            ) from error
        raise


def _comes_from_worker(error: BaseException) -> bool:
    """Whether a connection to another process broke off."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(frame.filename.endswith("multiprocessing/connection.py") for frame in frames)


@contextlib.contextmanager
def own_workers() -> Iterator[None]:
    """Kill processes that the block started and left; workers ignore the signals that end a run."""
    before = {child.pid for child in multiprocessing.active_children()}
    try:
        yield
    finally:
        for child in multiprocessing.active_children():
            if child.pid not in before:
                # torch raises when a worker of a living loader dies, at any place after that.
                with contextlib.suppress(RuntimeError):
                    child.kill()
                    child.join()
