"""Unpickle tensors, arrays and plain values, and nothing else.

A pickle is a program: it imports names and calls them. Here a name is looked up in a table of our own
functions, which check their arguments; any other name is refused. The memory that a pickle can claim is
bounded by the size of its file.
"""

import argparse
import collections
import importlib
import math
import pickle
from collections.abc import Callable
from typing import IO, Any, Protocol

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

# An operation creates at most one small object. ViT-H with AdamW's moments takes 100,000 operations.
MAX_OPERATIONS = 1_000_000
# What a call counts as: it takes longer, and creates larger objects.
CALL_OPERATIONS = 10
# Bytes of short texts, whose characters take up to 4 bytes each in memory. A longer text must be
# Latin-1, one byte per character, in which protocol 2 writes arrays.
MAX_TEXT = 1 << 27
LONG_TEXT = 1 << 20
# Longest line of protocol 0.
MAX_LINE = 1 << 24
# Longest key of a dict, and longest name of a weight.
MAX_NAME = 10_000
# Tensors may share a storage, as tied weights do, but not claim much more than the file holds: twice
# its size and this.
SHARED_BYTES = 1 << 26
# torch's own limit.
MAX_DIMENSIONS = 64

Key = str | int | float | bool | bytes | None


class UntrustedCheckpoint(ValueError):
    """A file holds objects other than tensors, arrays and plain values."""


class Storage(Protocol):
    """The numbers of a file that tensors are views of."""

    numel: int

    def tensor(self) -> Tensor:
        """All numbers, (numel,)."""


class ScriptObject:
    """A module of a TorchScript archive: its attributes without its code."""

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """All tensors at or below this module, by their dotted names."""
        found: dict[str, Tensor] = {}
        pending, seen = [(prefix, self)], {id(self)}
        while pending:
            path, module = pending.pop()
            _require(len(path) <= MAX_NAME, "its modules are nested too deep")
            for name, value in vars(module).items():
                if isinstance(value, Tensor):
                    found[path + name] = value
                elif isinstance(value, ScriptObject) and id(value) not in seen:
                    seen.add(id(value))
                    pending.append((f"{path}{name}.", value))
        return found


# Names that `--trust` allows beside the table below.
_trusted: set[str] = set()


def trust(names: list[str]) -> None:
    """Allow these names (`module.name`) in files: they are imported, and called as a file asks."""
    _trusted.update(names)


_Unpickler: Any = pickle._Unpickler  # type: ignore[attr-defined]


class CheckpointUnpickler(_Unpickler):
    """Python's unpickler, restricted. Its memo is a dict, which a large index cannot blow up.

    Args:
        file: the pickle.
        find_storage: persistent id -> storage; None if the file has no storages.
        size: bytes of the whole file, which bounds the tensors.

    Raises:
        UntrustedCheckpoint: a name outside the table.
        ValueError: arguments that a genuine file does not have.
    """

    def __init__(
        self, file: IO[bytes], find_storage: Callable[[Any], Storage] | None, size: int
    ) -> None:
        super().__init__(file, encoding="latin1")  # of Python 2's arrays (detectron2's model zoo)
        self.read = file.read
        self.readline = lambda: file.readline(MAX_LINE)
        self._find_storage = find_storage
        self._bytes_left = 2 * size + SHARED_BYTES
        self._text_left = MAX_TEXT
        self._operations_left = MAX_OPERATIONS
        self._allowed = _TABLE | {name: getattr(self, method) for name, method in _METHODS.items()}
        # Classes are created by `_new` alone, without arguments.
        self._callable = {id(f) for f in self._allowed.values() if not isinstance(f, type)}

    def load(self) -> Any:
        """The object of the pickle."""
        self.metastack: list[list[Any]] = []
        self.stack: list[Any] = []
        self.append = self.stack.append
        self.proto = 0
        try:
            while operation := self.read(1):
                self.count()
                run = _OPERATIONS.get(operation[0])
                if run is None:
                    raise ValueError(f"the operation {operation!r} of its pickle is not supported")
                run(self)
        except pickle._Stop as stop:  # type: ignore[attr-defined]
            return stop.value
        raise EOFError("it is cut off")

    def count(self, operations: int = 1) -> None:
        """Count operations."""
        self._operations_left -= operations
        if self._operations_left < 0:
            raise ValueError(f"it takes more than {MAX_OPERATIONS} operations to unpickle")

    def _count_copies(self, values: tuple[Any, ...]) -> None:
        """Count what a function may copy of its arguments: a file can pass one object many times."""
        for value in values:
            if isinstance(value, (str, bytes)):
                self._count_bytes(len(value))
            elif isinstance(value, (tuple, list, dict, set, collections.deque)):
                self.count(len(value))

    def _count_bytes(self, number: int) -> None:
        self._bytes_left -= number
        _require(self._bytes_left >= 0, "it claims more memory than the file holds")

    def find_class(self, module: str, name: str) -> Any:
        """The object that stands for a name of the file."""
        full = f"{module}.{name}"
        if full in _trusted:
            found = getattr(importlib.import_module(module), name)
            self._callable.add(id(found))
            return found
        if full in self._allowed:
            return self._allowed[full]
        if module in ("torch", "torch.storage") and name in _DTYPES:
            return _DTYPES[name]
        if module.startswith("__torch__"):
            return ScriptObject
        raise UntrustedCheckpoint(ascii(full[:100])[1:-1])  # one line, whatever it holds

    def persistent_load(self, pid: Any) -> Storage:
        """The storage that a tensor refers to."""
        if self._find_storage is None:
            raise ValueError("it refers to storages outside the pickle")
        return self._find_storage(pid)

    def rebuild_tensor(
        self, storage: Storage, offset: int, size: Any, stride: Any, *more: Any
    ) -> Tensor:
        """A view of a storage (torch/_utils.py:_rebuild_tensor_v2).

        Raises:
            ValueError: it reaches beyond its storage, or repeats its numbers.
        """
        _require(len(more) < 3 or not more[2], "a tensor with lazy conjugation or negation")
        return self._view(storage, offset, size, stride, None)

    def rebuild_tensor_v3(
        self,
        storage: Storage,
        offset: int,
        size: Any,
        stride: Any,
        requires_grad: bool,
        hooks: Any,
        dtype: torch.dtype,
        metadata: Any = None,
    ) -> Tensor:
        """A view of an untyped storage (torch/_utils.py:_rebuild_tensor_v3)."""
        _require(isinstance(dtype, torch.dtype) and not metadata, "a tensor of unknown type")
        return self._view(storage, offset, size, stride, dtype)

    def _view(
        self, storage: Storage, offset: int, size: Any, stride: Any, dtype: torch.dtype | None
    ) -> Tensor:
        shape, steps = _size(size), _size(stride)
        _require(_is_count(offset), "a tensor's offset is no number")
        _require(len(shape) == len(steps), "a tensor's strides do not fit its shape")
        _require(not isinstance(storage, Tensor) and hasattr(storage, "tensor"), "no storage")
        values = storage.tensor()
        if dtype is not None:
            values = values.view(dtype)
        count = math.prod(shape)
        if not count:
            return values.new_empty(shape)
        last = offset + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
        _require(last < values.numel(), "a tensor exceeds its storage")
        self._count_bytes(count * values.element_size())
        return values.as_strided(shape, steps, offset)

    # The operations of a pickle that create objects or change them.

    def _call(self) -> None:
        arguments = self.stack.pop()
        function = self.stack[-1]
        if id(function) not in self._callable:
            raise ValueError("it calls a value that is no function")
        _require(type(arguments) is tuple, "the arguments of a call are no tuple")
        self.count(CALL_OPERATIONS)
        self._count_copies(arguments)
        self.stack[-1] = function(*arguments)

    def _new(self) -> None:
        arguments = self.stack.pop()
        owner = self.stack[-1]
        if isinstance(owner, type) and id(owner) in self._callable and owner not in _PLAIN_CLASSES:
            self.stack[-1] = owner.__new__(owner, *arguments)  # trusted
            return
        plain = isinstance(owner, type) and owner in _PLAIN_CLASSES and arguments == ()
        _require(plain, "it creates an object of unknown type")
        self.count(CALL_OPERATIONS)
        self.stack[-1] = owner.__new__(owner)

    def _build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        self._count_copies(state if type(state) is tuple else (state,))
        if f"{type(target).__module__}.{type(target).__qualname__}" in _trusted:
            self.stack.append(state)
            super().load_build()
        elif isinstance(target, np.ndarray):
            _fill_array(target, state)
        elif isinstance(target, np.dtype):
            _check_dtype(state)
        elif type(target) in _PLAIN_CLASSES:
            if isinstance(target, ScriptObject) and not isinstance(state, dict):
                return  # what a __setstate__ would have read
            _require(isinstance(state, dict), "the state of an object is no dict")
            _require(all(type(key) is str for key in state), "an attribute without a name")
            vars(target).update(state)
        elif type(target) is collections.OrderedDict:  # a state dict's `_metadata`
            _require(isinstance(state, dict), "the state of a dict is no dict")
        else:
            raise ValueError(f"it changes a {type(target).__name__}")

    def _append(self, values: list[Any]) -> None:
        _require(type(self.stack[-1]) in (list, collections.deque), "it appends to no list")
        self.stack[-1].extend(values)

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        dicts = (dict, collections.OrderedDict, collections.Counter)
        _require(type(target) in dicts, "it sets an item of no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def _set_one(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _make_dict(self) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self._set(items)

    def _add(self) -> None:
        items = self.pop_mark()
        _require(type(self.stack[-1]) is set, "it adds to no set")
        self.stack[-1].update(map(_key, items))

    def _load_text(self, length_bytes: int) -> None:
        text = self.read(int.from_bytes(self.read(length_bytes), "little"))
        if len(text) > LONG_TEXT:
            _require(len(text.translate(None, _NOT_LATIN1)) == len(text), "a long text is not Latin-1")
        else:
            self._count_text(len(text))
        self.append(str(text, "utf-8", "surrogatepass"))

    def _load_line_of_text(self) -> None:
        self.load_unicode()
        self._count_text(len(self.stack[-1]))

    def _count_text(self, number: int) -> None:
        self._text_left -= number
        _require(self._text_left >= 0, f"it holds more than {MAX_TEXT} bytes of text")


def _operations() -> dict[int, Callable[[Any], None]]:
    """The operations of `CheckpointUnpickler`; those of no genuine file are left out."""
    base = _Unpickler.dispatch
    unused = pickle.INST + pickle.OBJ + pickle.EXT1 + pickle.EXT2 + pickle.EXT4
    unused += pickle.NEWOBJ_EX + pickle.FROZENSET + pickle.NEXT_BUFFER + pickle.READONLY_BUFFER
    kept: dict[int, Any] = {op: load for op, load in base.items() if op not in unused}
    ours = CheckpointUnpickler
    kept |= {
        pickle.REDUCE[0]: ours._call,
        pickle.NEWOBJ[0]: ours._new,
        pickle.BUILD[0]: ours._build,
        pickle.APPEND[0]: lambda self: self._append([self.stack.pop()]),
        pickle.APPENDS[0]: lambda self: self._append(self.pop_mark()),
        pickle.SETITEM[0]: ours._set_one,
        pickle.SETITEMS[0]: lambda self: self._set(self.pop_mark()),
        pickle.DICT[0]: ours._make_dict,
        pickle.ADDITEMS[0]: ours._add,
        pickle.FRAME[0]: lambda self: self.read(8),  # how the writer buffered
        pickle.UNICODE[0]: ours._load_line_of_text,
        pickle.SHORT_BINUNICODE[0]: lambda self: self._load_text(1),
        pickle.BINUNICODE[0]: lambda self: self._load_text(4),
        pickle.BINUNICODE8[0]: lambda self: self._load_text(8),
        pickle.BYTEARRAY8[0]: base[pickle.BINBYTES8[0]],  # arrays of protocol 5
    }
    return kept


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise ValueError(reason)


def _key(key: Any) -> Key:
    """A key of a dict. Hashing a nested tuple, or large numbers of one hash, can take for ever."""
    plain = key is None or type(key) in (str, int, float, bool, bytes)
    _require(plain, "a key is no plain value")
    fits = len(key) <= MAX_NAME if isinstance(key, (str, bytes)) else not key or abs(key) < 1 << 32
    _require(fits, "a key is too long, or too large")
    return key


def _is_count(number: Any) -> bool:
    return type(number) is int and 0 <= number < 1 << 63


def _storage_types() -> dict[str, torch.dtype]:
    """Names of storages and dtypes. Quantized dtypes crash torch, sub-byte ones lack operators."""
    named = {
        "DoubleStorage": torch.float64,
        "FloatStorage": torch.float32,
        "HalfStorage": torch.float16,
        "BFloat16Storage": torch.bfloat16,
        "LongStorage": torch.int64,
        "IntStorage": torch.int32,
        "ShortStorage": torch.int16,
        "CharStorage": torch.int8,
        "ByteStorage": torch.uint8,
        "BoolStorage": torch.bool,
        "ComplexFloatStorage": torch.complex64,
        "ComplexDoubleStorage": torch.complex128,
    }
    unsigned = (torch.uint16, torch.uint32, torch.uint64)
    small = (torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz)
    types = {str(t).removeprefix("torch."): t for t in (*named.values(), *unsigned, *small)}
    return {**named, **types, "UntypedStorage": torch.uint8}


_DTYPES = _storage_types()
# Bytes of UTF-8 that begin a character beyond Latin-1.
_NOT_LATIN1 = bytes(range(0xC4, 0x100))


def _history_method(owner: Any, name: str) -> Any:
    """`getattr` of mmengine's log history, which refers to its own methods."""
    _require(owner is HistoryBuffer and name in ("min", "max", "current", "mean"), "it calls getattr")
    return getattr(HistoryBuffer, name)


def _parameter(data: Any, *_: Any) -> Tensor:
    _require(isinstance(data, Tensor), "a parameter without a tensor")
    return data


def _ordered_dict(items: Any = ()) -> collections.OrderedDict[Key, Any]:
    _require(type(items) in (list, tuple), "a dict of no list")
    return collections.OrderedDict((_key(key), value) for key, value in items)


def _default_dict(factory: Any = None) -> dict[Key, Any]:
    """A `defaultdict`, as a dict: what is missing stays missing."""
    return {}


def _counter(counts: Any = None) -> collections.Counter[Key]:
    """The milestones of a `MultiStepLR`."""
    _require(type(counts) is dict, "a counter of no dict")
    return collections.Counter(counts)


def _deque(items: Any = (), maxlen: int | None = None) -> collections.deque[Any]:
    _require(type(items) in (list, tuple), "a deque of no list")
    return collections.deque(items, maxlen)


def _set_of(items: Any = ()) -> set[Key]:
    _require(type(items) in (list, tuple), "a set of no list")
    return {_key(item) for item in items}


def _size(items: Any) -> torch.Size:
    _require(type(items) in (list, tuple, torch.Size) and len(items) <= MAX_DIMENSIONS, "no shape")
    _require(all(map(_is_count, items)), "a tensor's shape is no numbers")
    return torch.Size(items)


def _device(kind: Any, index: Any = None) -> torch.device:
    _require(type(kind) is str and len(kind) < 100, "a device without a name")
    return torch.device(kind) if index is None else torch.device(kind, index)


def _latin1(text: str, encoding: str) -> bytes:
    """`_codecs.encode`, by which Python 2's protocol writes bytes."""
    _require(type(text) is str and encoding == "latin1", "it encodes text in another way than latin1")
    return text.encode("latin1")


def _bytes(value: Any = b"") -> bytes:
    _require(type(value) in (bytes, list, tuple), "bytes of a number")  # bytes(10**12) claims memory
    return bytes(value)


def _dtype(code: Any, *_: Any) -> np.dtype:
    """A plain numpy type: numbers, bool or fixed-length text."""
    code = code.decode("latin1") if type(code) is bytes else code
    _require(type(code) is str, "a numpy type without a name")
    plain = code[:1] in tuple("?biufcSU") and code[1:].isdigit() | (code == "?")
    _require(plain, f"the numpy type {code[:40]!r} is not plain")
    return np.dtype(code)


def _check_dtype(state: Any) -> None:
    """The state of a numpy type: byte order, and nothing else."""
    plain = type(state) is tuple and len(state) >= 5 and state[1] in ("<", "|", "=", b"<", b"|", b"=")
    _require(plain and not any(state[2:5]), "a numpy type with fields, or of another byte order")


def _empty_array(owner: Any, shape: Any, code: Any) -> np.ndarray:
    _require(owner is np.ndarray and shape == (0,), "an array of unknown type")
    return np.empty(0, np.int8)


def _fill_array(array: np.ndarray, state: Any) -> None:
    """The state of a numpy array: version, shape, type, order, bytes."""
    _require(type(state) is tuple and len(state) == 5, "an array without a state")
    _, shape, dtype, fortran, data = state
    data = data.encode("latin1") if type(data) is str else data
    _require(isinstance(dtype, np.dtype) and type(data) is bytes, "an array without numbers")
    _require(
        type(shape) is tuple
        and len(shape) <= 32
        and all(map(_is_count, shape))
        and math.prod(shape) * dtype.itemsize == len(data),
        "an array's shape does not fit its bytes",
    )
    state = (1, shape, dtype, bool(fortran), data)
    array.__setstate__(state)  # type: ignore[arg-type]


def _buffer_array(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """`numpy._core.numeric._frombuffer`, an array of protocol 5."""
    array = np.empty(0, np.int8)
    _fill_array(array, (1, shape, dtype, order == "F", data))
    return array


def _scalar(dtype: Any, data: Any) -> Any:
    data = data.encode("latin1") if type(data) is str else data
    fits = isinstance(dtype, np.dtype) and type(data) is bytes and len(data) == dtype.itemsize > 0
    _require(fits, "a number without bytes")
    return np.frombuffer(data, dtype)[0]


def _same(value: Any, *_: Any) -> Any:
    """TorchScript's tags of lists."""
    return value


# Objects that a file may create and give attributes: mmengine's log history, MAE's command line.
_PLAIN_CLASSES = (HistoryBuffer, argparse.Namespace, ScriptObject)
# Name in a file -> what it stands for.
_TABLE: dict[str, Any] = {
    "mmengine.logging.history_buffer.HistoryBuffer": HistoryBuffer,
    "__builtin__.getattr": _history_method,
    "builtins.getattr": _history_method,
    "argparse.Namespace": argparse.Namespace,
    "collections.OrderedDict": _ordered_dict,
    "collections.deque": _deque,
    "collections.Counter": _counter,
    "collections.defaultdict": _default_dict,
    # Factories of a defaultdict, which is none here: types cannot be called.
    **{f"{m}.{t.__name__}": t for m in ("builtins", "__builtin__") for t in (dict, list, int, float)},
    "__builtin__.set": _set_of,
    "builtins.set": _set_of,
    "__builtin__.bytes": _bytes,
    "builtins.bytes": _bytes,
    "_codecs.encode": _latin1,
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": _dtype,
    "torch.Size": _size,
    "torch.device": _device,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.jit._pickle.restore_type_tag": _same,
    **{f"torch.jit._pickle.build_{kind}list": _same for kind in ("int", "double", "bool", "tensor")},
    **{
        f"numpy.{core}.multiarray.{name}": function
        for core in ("core", "_core")  # numpy 1 and 2
        for name, function in (("_reconstruct", _empty_array), ("scalar", _scalar))
    },
    "numpy.core.numeric._frombuffer": _buffer_array,
    "numpy._core.numeric._frombuffer": _buffer_array,
}
_METHODS = {
    "torch._utils._rebuild_tensor": "rebuild_tensor",
    "torch._utils._rebuild_tensor_v2": "rebuild_tensor",
    "torch._utils._rebuild_tensor_v3": "rebuild_tensor_v3",
}
_OPERATIONS = _operations()
