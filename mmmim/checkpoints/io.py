"""Read untrusted checkpoint files without running code; write ours atomically."""

import errno
import hashlib
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlparse

import mmengine.runner.checkpoint
import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from mmmim.atomic import write_atomically
from mmmim.checkpoints.torch_file import ZIP_MAGIC, read_pickles, read_zip
from mmmim.checkpoints.unpickle import MAX_DIMENSIONS, UntrustedCheckpoint

# Keys that hold the weights; a file without any of them is the weights itself.
WRAPPERS = ("state_dict", "model", "module", "teacher")
# Bytes of a safetensors header, whose tensors take 20 times as much memory: for 40,000 tensors.
MAX_HEADER = 1 << 22


class DamagedCheckpoint(ValueError):
    """A file is no checkpoint, or not a whole one."""


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read the weights of a .pth, .pt, .pkl (detectron2) or .safetensors file onto the CPU.

    The prefix `module.` of DataParallel is removed.

    Raises:
        FileNotFoundError: no such file.
        UntrustedCheckpoint: it holds other objects than tensors, arrays and plain values.
        DamagedCheckpoint: it is no checkpoint, or not a whole one.
        ValueError: it holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint file '{path}'")
    content = read_file(path)
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict):
        raise ValueError(
            f"'{path}' holds a {type(content).__name__}; expected weights: save its state_dict()"
        )
    weights = {k: _as_tensor(v) for k, v in content.items() if type(k) is str}
    state = {k: v for k, v in weights.items() if v is not None}
    if not state:
        raise ValueError(
            f"'{path}' holds no weights: expected tensors at its top level or below one of "
            f"{', '.join(WRAPPERS)}; its first keys are {str(list(content)[:5])[:200]}"
        )
    if all(k.startswith("module.") for k in state):
        state = {k.removeprefix("module."): v for k, v in state.items()}
    return state


def write_checkpoint(path: str | Path, state: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write `{"state_dict", "meta"}` atomically."""
    with write_atomically(path) as file:
        torch.save(dict(state_dict=state, meta=meta), file)


def file_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def read_file(path: str | os.PathLike[str]) -> Any:
    """Read all that a .pth, .pt, .pkl (detectron2) or .safetensors file holds, onto the CPU.

    Nothing in the file is run: names outside an allow-list are refused (see `unpickle`). Memory is
    bounded by the size of the file. Records of torch's zip format are checked against their CRC-32.

    Raises:
        FileNotFoundError: no such file.
        UntrustedCheckpoint: it holds other objects than tensors, arrays and plain values.
        DamagedCheckpoint: it is no checkpoint, or not a whole one.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint file '{path}'")
    with path.open("rb") as file, _named(f"'{path}'"):
        if _is_safetensors(file):
            return _read_safetensors(path, header=int.from_bytes(file.read(8), "little"))
        return _read_open(file)


def verify_file(path: str | os.PathLike[str]) -> None:
    """Read a file of `torch.save` back, and compare every record with its CRC-32, in little memory.

    Raises:
        DamagedCheckpoint: it differs from what was written.
    """
    with _named(f"'{path}'"), zipfile.ZipFile(path) as archive:
        if (broken := archive.testzip()) is not None:
            raise ValueError(f"its record {broken} differs from what was written")


def install_reader() -> None:
    """Let mmengine read every checkpoint (`resume`, `load_from`, `init_cfg`, URLs) by this reader.

    mmengine falls back to a full unpickle, which runs code, and executes `meta["config"]`, which old
    versions wrote, to compare the number of GPUs.
    """

    def load(file: Any, map_location: Any = None, weights_only: Any = None) -> Any:
        if isinstance(file, (str, os.PathLike)):
            content = read_file(file)
        else:
            with _named("the downloaded checkpoint"):
                content = _read_open(BytesIO(file.read()))
        if isinstance(content, dict) and isinstance(content.get("meta"), dict):
            content["meta"].pop("config", None)
        return content

    def load_url(
        url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True
    ) -> Any:
        folder = Path(model_dir or Path(torch.hub.get_dir(), "checkpoints"))
        file = folder / Path(urlparse(url).path).name
        if not file.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file), progress=progress)
        return load(file)

    if not hasattr(mmengine.runner.checkpoint, "_safe_torch_load"):
        raise ImportError(
            "this mmengine reads checkpoints in an unknown way: install onedl-mmengine as "
            "requirements/ pins it"
        )
    mmengine.runner.checkpoint._safe_torch_load = load
    mmengine.runner.checkpoint.load_url = load_url  # torch.hub's unpickles all


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Errors of reading become one line with the file's name."""
    try:
        yield
    except UntrustedCheckpoint as error:
        raise UntrustedCheckpoint(
            f"{name} is refused: it refers to {error}, and mmmim reads tensors, arrays and plain "
            "values alone. Ask for a file of the state_dict(); if you trust this one, name what it may "
            f"import and call: --trust {error}"
        ) from None
    except MemoryError as error:
        raise MemoryError(f"{name} cannot be read: there is not enough memory") from error
    except Exception as error:  # a damaged file provokes any
        # The disk or network failed, and the file may be whole. Offsets of a damaged file give EINVAL.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise OSError(error.errno, f"{name} cannot be read: {error.strerror}") from error
        first = str(error)[:200].partition("\n")[0] or type(error).__name__
        reason = "".join(c if c.isprintable() else " " for c in first)
        raise DamagedCheckpoint(
            f"{name} cannot be read as a checkpoint, it is damaged or of another format: {reason}"
        ) from error


def _read_open(file: IO[bytes]) -> Any:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if not size:
        raise ValueError("it is empty")
    magic = file.read(len(ZIP_MAGIC))
    file.seek(0)
    return read_zip(file, size) if magic == ZIP_MAGIC else read_pickles(file, size)


def _is_safetensors(file: IO[bytes]) -> bool:
    """Whether the file starts with an 8-byte header length and a JSON header."""
    found = file.read(9)[8:] == b"{"
    file.seek(0)
    return found


def _read_safetensors(path: Path, header: int) -> dict[str, Tensor]:
    if header > MAX_HEADER:
        raise ValueError(f"its header claims {header} bytes")
    content = safetensors.torch.load_file(path)
    if any(value.ndim > MAX_DIMENSIONS for value in content.values()):
        raise ValueError(f"a tensor has more than {MAX_DIMENSIONS} dimensions")
    return content


def _as_tensor(value: Any) -> Tensor | None:
    """A tensor, or an array of numbers that torch has; else None."""
    if isinstance(value, np.ndarray):
        numbers = value.dtype.kind in "biufc" and value.dtype.char not in "gG"  # long doubles
        value = torch.as_tensor(value) if numbers else None
    return value if isinstance(value, Tensor) else None
