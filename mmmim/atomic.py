"""Files are written whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def write_atomically(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that replaces `path` when the block ends; on an error `path` is kept.

    Missing folders are created.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            yield file
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


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
