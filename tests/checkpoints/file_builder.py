"""Write pickles operation by operation, and the files around them, as an attacker would."""

import pickle
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path

STOP = pickle.STOP
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def name(dotted: str) -> bytes:
    """GLOBAL: "os:system" -> os.system."""
    module, _, attribute = dotted.partition(":")
    return f"c{module}\n{attribute}\n".encode()


def computed_name(module: bytes, attribute: bytes) -> bytes:
    """STACK_GLOBAL: a name whose parts are any values."""
    return module + attribute + pickle.STACK_GLOBAL


def text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def raw(value: bytes) -> bytes:
    return pickle.BINBYTES + struct.pack("<I", len(value)) + value


def number(value: int) -> bytes:
    data = pickle.encode_long(value)
    return pickle.LONG4 + struct.pack("<i", len(data)) + data


def tuple_of(*values: bytes) -> bytes:
    return pickle.MARK + b"".join(values) + pickle.TUPLE


def list_of(*values: bytes) -> bytes:
    return pickle.EMPTY_LIST + pickle.MARK + b"".join(values) + pickle.APPENDS


def dict_of(items: dict[str, bytes]) -> bytes:
    inside = b"".join(text(key) + value for key, value in items.items())
    return pickle.EMPTY_DICT + pickle.MARK + inside + pickle.SETITEMS


def numbers(*values: int) -> bytes:
    return tuple_of(*map(number, values))


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + tuple_of(*arguments) + pickle.REDUCE


def create(owner: bytes, *arguments: bytes) -> bytes:
    return owner + tuple_of(*arguments) + pickle.NEWOBJ


def build(target: bytes, state: bytes) -> bytes:
    return target + state + pickle.BUILD


def keep(index: int) -> bytes:
    """Remember the value on the stack."""
    return pickle.LONG_BINPUT + struct.pack("<I", index)


def kept(index: int) -> bytes:
    return pickle.LONG_BINGET + struct.pack("<I", index)


def discard(value: bytes) -> bytes:
    return value + pickle.POP


NONE, TRUE, FALSE = pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE
ORDERED_DICT = call(name("collections:OrderedDict"))


def storage(numel: bytes, key: str = "0", dtype: str = "torch:FloatStorage") -> bytes:
    """The reference to a storage."""
    identity = tuple_of(text("storage"), name(dtype), text(key), text("cpu"), numel)
    return identity + pickle.BINPERSID


def tensor(
    size: bytes | None = None,
    stride: bytes | None = None,
    offset: bytes | None = None,
    numel: bytes | None = None,
    key: str = "0",
    dtype: str = "torch:FloatStorage",
) -> bytes:
    """A tensor of 4 numbers, unless told otherwise."""
    return call(
        name("torch._utils:_rebuild_tensor_v2"),
        storage(numel or number(4), key, dtype),
        offset or number(0),
        size or numbers(4),
        stride or numbers(1),
        FALSE,
        ORDERED_DICT,
    )


def checkpoint(place: str, value: bytes, weights: bytes | None = None) -> bytes:
    """The pickle of a checkpoint as mmengine writes it, with `value` at `place` ("meta.cfg")."""
    content = {"state_dict": dict_of({"weight": weights or tensor()})}
    content["meta"] = dict_of({"epoch": number(1), "iter": number(12)})
    outer, _, inner = place.partition(".")
    content[outer] = dict_of({inner: value}) if inner else value
    return dict_of(content) + STOP


FOUR = struct.pack("<4f", 1, 2, 3, 4)


def write_zip(
    path: Path, pickled: bytes, storages: dict[str, bytes] | None = None, **records: bytes
) -> None:
    """A file of torch >= 1.6."""
    contents = {"data.pkl": pickled, "byteorder": b"little", "version": b"3\n", **records}
    contents |= {f"data/{k}": v for k, v in (storages or {"0": FOUR}).items()}
    write_records(path, {f"archive/{k}": v for k, v in contents.items()}.items())


def write_records(path: Path, records: Iterable[tuple[str, bytes]], compression: int = 0) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for record, content in records:
            archive.writestr(record, content)


def write_legacy(
    path: Path,
    pickled: bytes,
    keys: bytes | None = None,
    storages: bytes | None = None,
    start: bytes | None = None,
) -> None:
    """A file of torch < 1.6."""
    head = start or pickle.dumps(LEGACY_MAGIC, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    listed = keys or pickle.dumps(["0"], 2)
    stored = struct.pack("<q", 4) + FOUR if storages is None else storages
    path.write_bytes(head + pickled + listed + stored)


def write_plain(path: Path, pickled: bytes, *_: object) -> None:
    """A pickle, as detectron2 publishes its weights in."""
    path.write_bytes(pickle.PROTO + b"\x02" + pickled)


def array(
    code: bytes | None = None,
    state: bytes | None = None,
    owner: str = "numpy:ndarray",
    shape: bytes | None = None,
    data: bytes | None = None,
    first_shape: bytes | None = None,
    flags: bytes | None = None,
    order: str = "<",
) -> bytes:
    """A numpy array of two float32, unless told otherwise."""
    plain = tuple_of(
        number(3), text(order), NONE, NONE, NONE, number(-1), number(-1), flags or number(0)
    )
    dtype = build(call(name("numpy:dtype"), code or text("f4"), number(0), number(1)), state or plain)
    empty = call(
        name("numpy.core.multiarray:_reconstruct"), name(owner), first_shape or numbers(0), raw(b"b")
    )
    values = tuple_of(number(1), shape or numbers(2), dtype, FALSE, data or raw(FOUR[:8]))
    return build(empty, values)
