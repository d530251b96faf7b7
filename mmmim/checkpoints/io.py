"""Read untrusted checkpoint files without running code; write ours atomically."""

import argparse
import collections
import hashlib
import importlib
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from mmmim.atomic import write_atomically

# Keys that hold the weights; a file without any of them is the weights itself.
WRAPPERS = ("state_dict", "model", "module", "teacher")


def _history_method(owner: type, name: str) -> Any:
    """Replaces `getattr` during unpickling: mmengine's log history refers to its own methods."""
    if owner is not HistoryBuffer:
        raise ValueError(f"a checkpoint must not access attributes of {owner}")
    return getattr(owner, name)


# Allowed beside tensors: mmengine's log history and MAE's command line (`args`).
_multiarray = importlib.import_module("numpy._core.multiarray")
SAFE = [
    HistoryBuffer,
    (_history_method, "builtins.getattr"),
    argparse.Namespace,
    collections.deque,
    np.ndarray,
    np.dtype,
    *(
        (getattr(_multiarray, name), f"numpy.{core}.multiarray.{name}")
        for name in ("_reconstruct", "scalar")
        for core in ("core", "_core")  # numpy 1 and 2
    ),
    *{type(np.dtype(t)) for t in ("float64", "float32", "int64", "int32", "uint32", "bool", "uint8")},
]


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read the weights of a .pth, .pt, .pkl (detectron2) or .safetensors file onto the CPU.

    The prefix `module.` of DataParallel is removed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no checkpoint, or holds objects whose reading would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint file '{path}'")
    content = _read(path)
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict):
        raise ValueError(
            f"'{path}' holds a {type(content).__name__}; expected weights: save its state_dict()"
        )
    state = {k: torch.as_tensor(v) for k, v in content.items() if isinstance(v, (Tensor, np.ndarray))}
    if not state:
        raise ValueError(
            f"'{path}' holds no weights: expected tensors at its top level or below one of "
            f"{', '.join(WRAPPERS)}; its first keys are {list(content)[:5]}"
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


def _read(path: Path) -> Any:
    try:
        if _is_safetensors(path):
            return safetensors.torch.load_file(path)
        if path.suffix == ".pkl":
            with path.open("rb") as file:
                return _ArrayUnpickler(file, encoding="latin1").load()
        if _is_torchscript(path):  # OpenAI's CLIP
            return torch.jit.load(path, map_location="cpu").state_dict()
        with torch.serialization.safe_globals(SAFE):
            # Memory-mapped, so that reading only the position table of a 2 GB file is quick.
            mapped = zipfile.is_zipfile(path)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a damaged file provokes any
        raise ValueError(
            f"'{path}' cannot be read as a checkpoint: it is damaged, or holds Python objects other "
            "than tensors, which mmmim does not run. If you trust a .pth file, save its weights alone: "
            "torch.save(torch.load(path, weights_only=False)[KEY], new_path), with KEY 'state_dict' or "
            "'model'"
        ) from error


def _is_safetensors(path: Path) -> bool:
    """Whether the file starts with an 8-byte header length and a JSON header."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _is_torchscript(path: Path) -> bool:
    """
    Raises:
        ValueError: the archive would run code when read.
    """
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if not any(name.endswith("/constants.pkl") for name in names):
            return False
        if any(b"__setstate__" in archive.read(name) for name in names if name.endswith(".py")):
            raise ValueError("the archive has a __setstate__, which would run when read")
    return True


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles arrays and containers only (the format of detectron2's model zoo)."""

    ALLOWED = {
        ("collections", "OrderedDict"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise ValueError(f"a .pkl checkpoint must hold arrays only, this one holds {module}.{name}")
        return super().find_class(module, name)
