"""Files are written whole or not at all."""

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mmengine.fileio import LocalBackend
from mmengine.fileio.backends import register_backend

PARTIAL = ".partial"  # suffix of a file that is being written


@contextmanager
def write_atomically(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that replaces `path` when the block ends; on an error `path` is kept.

    The content is on the disk before the file gets its name, so that a power cut leaves the old file or
    the new one. Missing folders are created.

    Raises:
        OSError: the file cannot be written; the message gives the free space of a full disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Ranks may write one file at the same time.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write '{path}': {error.strerror or error}. {_cure(error, path.parent)}, or set "
            "another --work-dir. Files that were complete are kept",
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _cure(error: OSError, folder: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{shutil.disk_usage(folder).free / 1e6:.0f} MB are free there: make room"
    return "Check its permissions and its disk"


def _sync_folder(folder: Path) -> None:
    """Bring the names of a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems do not support it
    finally:
        os.close(descriptor)


class AtomicLocalBackend(LocalBackend):
    """mmengine's backend for local files, which checkpoints are written by, made atomic."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a binary file."""
        write_bytes(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write a text file."""
        write_bytes(filepath, obj.encode(encoding))


def install_backend() -> None:
    """Let mmengine write local files atomically."""
    register_backend("local", AtomicLocalBackend, force=True, prefixes="")


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a binary file atomically."""
    with write_atomically(path) as file:
        file.write(content)


def write_text(path: str | Path, content: str) -> None:
    """Write a text file atomically, in UTF-8."""
    write_bytes(path, content.encode())


def write_table(prefix: Path, markdown: str, content: dict[str, Any]) -> None:
    """Write a result as PREFIX.md and PREFIX.json."""
    write_text(prefix.with_name(prefix.name + ".md"), markdown)
    write_text(prefix.with_name(prefix.name + ".json"), json.dumps(content, indent=1) + "\n")
    print(f"wrote {prefix}.md and {prefix}.json")
