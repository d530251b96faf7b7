"""Results are written whole or not at all."""

import io
import json
import os
from pathlib import Path

from matplotlib.figure import Figure


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file in one go, and its folder where there is none: a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(partial, path)


def write_table(out: Path, markdown: str, content: dict) -> None:
    """OUT.md and OUT.json."""
    write_whole(out.with_name(out.name + ".md"), markdown)
    write_whole(out.with_name(out.name + ".json"), json.dumps(content, indent=1) + "\n")
    print(f"wrote {out}.md and {out}.json")


def figure_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120)
    return buffer.getvalue()
