"""One run per work dir."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.logging import print_log

from mmmim.engine.distribution import launched_rank

LOCK = ".running"  # file in the work dir that a running process locks


class WorkDirInUse(RuntimeError):
    """Another run writes to the work dir."""


@contextmanager
def claim_work_dir(work_dir: str) -> Iterator[None]:
    """Keep other runs out of a work dir while the block runs.

    The lock belongs to the process of rank 0, and ends with it, also if it is killed.

    Raises:
        WorkDirInUse: another run holds it.
    """
    if launched_rank() != 0:
        yield
        return
    path = Path(work_dir) / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        _lock(file.fileno(), path)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _lock(descriptor: int, path: Path) -> None:
    # A POSIX lock: workers of the data loader, which are forked, do not inherit it.
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise WorkDirInUse(
                f"a run is using '{path.parent}' ({path.read_text()}): wait for its end, stop it, or "
                "set another --work-dir"
            ) from None
        print_log(f"the file system of '{path.parent}' has no locks ({error}): start one run at a time")
