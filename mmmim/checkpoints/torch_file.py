"""Read files of `torch.save`, in both its formats, and TorchScript archives, without running code."""

import struct
import sys
import zipfile
from dataclasses import dataclass
from io import BufferedReader
from typing import IO, Any

import torch
from torch import Tensor

from mmmim.checkpoints.unpickle import CheckpointUnpickler, ScriptObject

ZIP_MAGIC = b"PK\x03\x04"
# First object of a file of torch < 1.6 (torch/serialization.py:MAGIC_NUMBER), which OpenMMLab still
# publishes its weights in.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
CHUNK = 1 << 24
# Bytes of a zip file's directory, whose entries take 20 times as much memory: for 100,000 storages.
MAX_DIRECTORY = 1 << 24
MAX_KEY = 100  # characters of a storage's name


def read_zip(file: IO[bytes], size: int) -> Any:
    """The content of a zip file of `torch.save`, or the state dict of a TorchScript archive.

    Every record that is read is checked against its CRC-32.

    Args:
        file: the open file.
        size: its bytes.

    Raises:
        UntrustedCheckpoint: it holds other objects than tensors, arrays and plain values.
        Exception: of any type, for a damaged file.
    """
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    if end and end[zipfile._ECD_SIZE] > MAX_DIRECTORY:  # type: ignore[attr-defined]
        raise ValueError("it has too many records")
    with zipfile.ZipFile(file) as archive:
        records = _Records(archive, size)
        if records.read_text("byteorder", "little") != sys.byteorder:
            raise ValueError("it was written on a machine of another byte order")
        content = CheckpointUnpickler(records.open("data.pkl"), records.storage, size).load()
        if isinstance(content, ScriptObject):
            return ScriptObject.state_dict(content)  # an attribute may have the method's name
        return content


class _Records:
    """The records of a zip file, which are uncompressed and below one folder."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        self._archive = archive
        self._found = {entry.filename: entry for entry in archive.infolist()}
        if len(self._found) != len(archive.infolist()):
            raise ValueError("it holds two records of one name")
        if sum(e.file_size for e in self._found.values() if e.compress_type == 0) > size:
            raise ValueError("its records claim more bytes than the file has")
        folders = {name.partition("/")[0] for name in self._found}
        if len(folders) != 1:
            raise ValueError("its records are not below one folder")
        self._folder = folders.pop()
        self._storages: dict[str, _Stored] = {}

    def read(self, name: str) -> bytearray:
        """The bytes of a record."""
        entry = self._entry(name)
        content = bytearray(entry.file_size)
        with self._archive.open(entry) as record:
            _fill(memoryview(content), record, f"its record {name}")
        return content

    def open(self, name: str) -> BufferedReader:
        """A record, to be read in pieces. It is checked before."""
        entry = self._entry(name)
        with self._archive.open(entry) as record:
            while record.read(CHUNK):
                pass
        return BufferedReader(self._archive.open(entry), 1 << 16)  # type: ignore[arg-type]

    def _entry(self, name: str) -> zipfile.ZipInfo:
        entry = self._found.get(f"{self._folder}/{name}")
        if entry is None:
            raise ValueError(f"it lacks the record {name}")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"its record {name} is compressed")
        return entry

    def read_text(self, name: str, default: str) -> str:
        """The start of a record, or `default` if there is none."""
        if f"{self._folder}/{name}" not in self._found:
            return default
        with self.open(name) as record:
            return record.read(100).decode()

    def storage(self, pid: Any) -> "_Stored":
        """("storage", type, key, location, length) -> the storage."""
        dtype, key, numel = _storage_id(pid)
        if key not in self._storages:
            self._storages[key] = _Stored(_numbers(self.read(f"data/{key}"), dtype), numel)
        stored = self._storages[key]
        return stored if stored.values.dtype == dtype else _Stored(stored.values.view(dtype), numel)


def _storage_id(pid: Any) -> tuple[torch.dtype, str, int]:
    """("storage", type, key, location, length, ...) -> type, key, length."""
    if type(pid) is tuple and len(pid) >= 5 and type(pid[0]) is str and pid[0] == "storage":
        _, dtype, key, _, numel = pid[:5]
        named = type(key) is str and len(key) <= MAX_KEY
        if named and isinstance(dtype, torch.dtype) and type(numel) is int:
            return dtype, key, numel
    raise ValueError("it refers to a storage in an unknown way")


@dataclass
class _Stored:
    """A storage in memory."""

    values: Tensor
    numel: int

    def tensor(self) -> Tensor:
        """All numbers, (numel,)."""
        if not 0 <= self.numel <= self.values.numel():
            raise ValueError("a storage is larger than its record")
        return self.values[: self.numel]


def _numbers(content: bytearray, dtype: torch.dtype) -> Tensor:
    if len(content) % dtype.itemsize:
        raise ValueError("a storage has a part of a number")
    return torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)


def _fill(view: memoryview, file: Any, name: str) -> None:
    start = 0
    while count := file.readinto(view[start : start + CHUNK]):
        start += count
    if start != len(view):
        raise ValueError(f"{name} is cut off")


def read_pickles(file: IO[bytes], size: int) -> Any:
    """The content of a file of torch < 1.6, or of a plain pickle of arrays (detectron2).

    Raises:
        UntrustedCheckpoint: it holds other objects than tensors, arrays and plain values.
        Exception: of any type, for a damaged file.
    """
    first = CheckpointUnpickler(file, None, size).load()
    if type(first) is not int or first != LEGACY_MAGIC:
        return first
    for _ in ("protocol version", "machine"):
        CheckpointUnpickler(file, None, size).load()
    start = file.tell()
    # The storages follow the pickle that refers to them, so it is read twice.
    declared = _Declared()
    CheckpointUnpickler(file, declared.storage, size).load()
    keys = CheckpointUnpickler(file, None, size).load()
    named = type(keys) is list and all(type(key) is str for key in keys)
    if not named or set(keys) != declared.found.keys():
        raise ValueError("its list of storages does not fit its tensors")
    storages = {key: _read_storage(file, size, *declared.found[key]) for key in keys}
    file.seek(start)
    return CheckpointUnpickler(file, lambda pid: _legacy_view(storages, pid), size).load()


class _Declared:
    """The storages that the pickle of a legacy file refers to, before they are read."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[torch.dtype, int]] = {}

    def storage(self, pid: Any) -> "_Unread":
        """Note type and length of a storage."""
        dtype, key, numel = _storage_id(pid)
        if self.found.setdefault(key, (dtype, numel)) != (dtype, numel):
            raise ValueError("it refers to one storage in two ways")
        return _Unread(dtype, numel)


@dataclass
class _Unread:
    """Stands for a storage in the first pass; its tensors take no memory."""

    dtype: torch.dtype
    numel: int

    def tensor(self) -> Tensor:
        """All numbers, (numel,)."""
        return torch.empty(self.numel, dtype=self.dtype, device="meta")


def _read_storage(file: IO[bytes], size: int, dtype: torch.dtype, numel: int) -> Tensor:
    (stored,) = struct.unpack("<q", file.read(8))
    length = numel * dtype.itemsize
    if stored != numel or numel < 0 or length > size - file.tell():
        raise ValueError("a storage is cut off")
    content = bytearray(length)
    _fill(memoryview(content), file, "a storage")
    return _numbers(content, dtype)


def _legacy_view(storages: dict[str, Tensor], pid: Any) -> _Stored:
    """The storage of an id, or the part of it that a view of torch < 0.4 names."""
    _, key, numel = _storage_id(pid)
    values = storages[key]
    if pid[5:] and pid[5] is not None:
        view = pid[5] if type(pid[5]) is tuple else ()
        if len(view) != 3 or any(type(n) is not int or n < 0 for n in view[1:]):
            raise ValueError("a view of a storage has no numbers")
        _, offset, length = view
        return _Stored(values[offset : offset + length], length)
    return _Stored(values, numel)
