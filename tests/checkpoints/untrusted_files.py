"""Write a corpus of hostile and broken checkpoint files.

    python -m tests.checkpoints.untrusted_files FOLDER

Each file belongs to a kind and has an expected outcome:
  refused   `UntrustedCheckpoint`: it refers to a name outside the reader's table
  damaged   `DamagedCheckpoint`
  missing   `FileNotFoundError`: no regular file
  empty     it can be read, and holds no weights
  loads     it can be read, and is harmless
"""
# ruff: noqa: E501  (one line for each way)

import gzip
import io
import json
import os
import pickle
import random
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.checkpoints.file_builder import (
    FALSE,
    FOUR,
    NONE,
    ORDERED_DICT,
    STOP,
    TRUE,
    array,
    build,
    call,
    checkpoint,
    create,
    dict_of,
    discard,
    keep,
    kept,
    list_of,
    name,
    number,
    numbers,
    raw,
    storage,
    tensor,
    text,
    tuple_of,
    write_legacy,
    write_plain,
    write_records,
    write_zip,
)
from tests.checkpoints.untrusted_code import code_in_pickles

SENTINEL = "executed"
Write = Callable[[Path], None]


@dataclass(frozen=True)
class UntrustedFile:
    """A file of the corpus.

    Attributes:
        name: of the file.
        kind: group.
        expected: outcomes that are right.
        write: writes it to a path.
    """

    name: str
    kind: str
    expected: tuple[str, ...]
    write: Write


KINDS: dict[str, Callable[[str], "Files"]] = {}


def kind(group: Callable[[str], "Files"]) -> Callable[[str], "Files"]:
    """Register a function that lists the files of one kind; its argument is the path of SENTINEL."""
    KINDS[group.__name__.removeprefix("_")] = group
    return group


def list_files(folder: Path, kinds: Iterable[str] = ()) -> list[UntrustedFile]:
    """The files of some kinds, or of all. Code in them would create the file SENTINEL in `folder`."""
    groups = {name: KINDS[name](str(folder / SENTINEL)) for name in kinds or KINDS}
    return [
        UntrustedFile(file, group, tuple(expected.split()), write)
        for group, files in groups.items()
        for file, (expected, write) in files.items()
    ]


def write_all(folder: Path) -> list[UntrustedFile]:
    """Write the corpus."""
    files = list_files(folder)
    for file in files:
        file.write(folder / file.name)
    return files


Files = dict[str, tuple[str, Write]]
PLACES = ("state_dict.x", "meta.cfg", "message_hub.log_scalars", "optimizer.state", "param_schedulers")


@kind
def _code(sentinel: str) -> Files:
    """Every way in a zip file; in turn in the other formats, and at every place of a checkpoint."""
    found: Files = {}
    for i, (way, value) in enumerate(code_in_pickles(sentinel).items()):
        pickled = checkpoint(PLACES[i % len(PLACES)], value)
        expected = "refused damaged"
        found[f"code_{way}.pth"] = (expected, lambda path, p=pickled: write_zip(path, p))
        if i % 3 == 0:
            found[f"code_{way}_legacy.pth"] = (expected, lambda path, p=pickled: write_legacy(path, p))
        elif i % 3 == 1:
            plain = dict_of({"model": dict_of({"x": array()}), "y": value}) + STOP
            found[f"code_{way}.pkl"] = (expected, lambda path, p=plain: write_plain(path, p))
    system = call(name("os:system"), text(f"touch {sentinel}"))
    first = pickle.PROTO + b"\x02" + system + STOP
    found["code_before_the_magic.pth"] = (
        "refused",
        lambda path: write_legacy(path, checkpoint("x", NONE), start=first),
    )
    found["code_in_legacy_keys.pth"] = (
        "refused",
        lambda path: write_legacy(path, checkpoint("x", NONE), keys=system + STOP),
    )
    # What follows the end of a pickle is not read.
    found["code_after_the_end.pkl"] = (
        "loads empty",
        lambda path: write_plain(
            path, dict_of({"model": dict_of({"x": array()})}) + STOP + system + STOP
        ),
    )
    return found


@kind
def _config(sentinel: str) -> Files:
    """Text that some reader executes: mmengine's `Config.fromstring`, OpenMMLab's old `meta["config"]`."""
    source = f"open({sentinel!r}, 'w')\ngpu_ids = range(1)\n"
    places = ("meta.config", "meta.cfg", "message_hub.cfg", "config", "meta.env_info")
    return {
        f"source_in_{place}.pth": (
            "loads",
            lambda path, place=place: write_zip(path, checkpoint(place, text(source))),
        )
        for place in places
    }


@kind
def _torchscript(sentinel: str) -> Files:
    """Archives whose source `torch.jit.load` would run."""
    module = name("__torch__:Model")
    weights = build(create(module), dict_of({"weight": tensor(), "training": TRUE})) + STOP
    source = (
        "class Model(Module):\n  __parameters__ = []\n  __buffers__ = []\n"
        "  def __setstate__(self: __torch__.Model, state: int) -> NoneType:\n"
        f"    ops.aten.save(state, {sentinel!r})\n    return None\n"
    ).encode()
    system = call(name("os:system"), text(f"touch {sentinel}")) + STOP

    def archive(*records: tuple[str, bytes], pickled: bytes = weights) -> Write:
        base = [("data.pkl", pickled), ("data/0", FOUR), ("version", b"3\n")]
        files = [(f"m/{record}", content) for record, content in [*base, *records]]
        return lambda path: write_records(path, files)

    def state(value: bytes) -> bytes:
        return build(create(module), value) + STOP

    deep = create(module) + keep(1)
    for _ in range(3000):
        deep += dict_of({"a" * 50: create(module) + keep(2), "w": kept(9)}) + pickle.BUILD + kept(2)
    deep = discard(tensor() + keep(9)) + discard(deep) + kept(1) + STOP
    code = ("code/__torch__.py", source)
    constants = ("constants.pkl", system)
    return {
        "script_setstate.pt": ("empty", archive(code, pickled=state(number(3)))),
        "script_capital_PY.pt": (
            "empty",
            archive(("code/__torch__.PY", source), pickled=state(number(3))),
        ),
        "script_source_twice.pt": ("damaged", archive(code, ("code/__torch__.py", b""))),
        "script_mangled.pt": (
            "loads",
            archive(code, pickled=weights.replace(b"c__torch__", b"c__torch__.___torch_mangle_3")),
        ),
        "script_code_in_constants.pt": ("loads", archive(code, constants)),
        "script_code_in_debug.pt": ("loads", archive(code, ("code/__torch__.py.debug_pkl", system))),
        "script_code_in_attributes.pt": (
            "refused",
            archive(pickled=state(dict_of({"x": system[:-1]}))),
        ),
        "script_module_called.pt": ("damaged", archive(pickled=call(module, number(3)) + STOP)),
        "script_module_with_arguments.pt": (
            "damaged",
            archive(pickled=create(module, number(3)) + STOP),
        ),
        "script_attribute_state_dict.pt": (
            "loads",
            archive(pickled=state(dict_of({"state_dict": number(3), "weight": tensor()}))),
        ),
        "script_attribute_class.pt": (
            "loads",
            archive(pickled=state(dict_of({"__class__": number(3), "weight": tensor()}))),
        ),
        "script_cycle.pt": (
            "loads",
            archive(
                pickled=build(create(module) + keep(1), dict_of({"a": kept(1), "w": tensor()})) + STOP
            ),
        ),
        "script_deep.pt": ("damaged", archive(pickled=deep)),
        "script_class_alone.pt": ("empty", archive(pickled=module + STOP)),
    }


@kind
def _zip(sentinel: str) -> Files:
    plain = checkpoint("x", NONE)
    system = call(name("os:system"), text(f"touch {sentinel}")) + STOP
    bomb = bytes(1 << 26)

    def records(*items: tuple[str, bytes], compression: int = 0) -> Write:
        return lambda path: write_records(path, items, compression)

    def patched(*changes: tuple[bytes, int, bytes]) -> Write:
        """After (signature, distance from it), other bytes: the first record is data.pkl."""

        def write(path: Path) -> None:
            write_zip(path, plain)
            content = bytearray(path.read_bytes())
            for signature, distance, value in changes:
                start = content.index(signature) + distance
                content[start : start + len(value)] = value
            path.write_bytes(content)

        return write

    local, central, end = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"

    def around(before: bytes = b"", after: bytes = b"") -> Write:
        def write(path: Path) -> None:
            write_zip(path, plain)
            path.write_bytes(before + path.read_bytes() + after)

        return write

    def overlapping(path: Path) -> None:
        """The entries of the storages 0 to 199 share the bytes of one."""
        numbers_ = [tensor(size=numbers(1 << 18), numel=number(1 << 18), key="0")]
        write_zip(path, list_of(*numbers_) + STOP, {"0": bytes(1 << 20)})
        content = path.read_bytes()
        last = content.rindex(central)
        entry = content[last : content.rindex(end)]
        tail = bytearray(content[content.rindex(end) :])
        copies = b"".join(entry.replace(b"/0", b"/" + bytes([65 + i])) for i in range(60))
        count = struct.unpack_from("<H", tail, 8)[0] + 60
        struct.pack_into(
            "<HHI", tail, 8, count, count, struct.unpack_from("<I", tail, 12)[0] + len(copies)
        )
        path.write_bytes(content[: content.rindex(end)] + copies + tail)

    def many(count: int, length: int) -> Write:
        """A directory of `count` entries that all point at one record."""

        def write(path: Path) -> None:
            write_zip(path, plain)
            content = path.read_bytes()
            entry = bytearray(content[content.index(central) :][: 46 + len("archive/data.pkl")])
            entry[28:30] = struct.pack("<H", length)
            with path.open("wb") as file:
                start = file.write(content[: content.index(central)])
                for i in range(count):
                    file.write(entry[:46] + f"archive/{i}".encode().ljust(length, b"x"))
                where = file.tell()
                file.write(
                    b"PK\x06\x06"
                    + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, where - start, start)
                )
                file.write(b"PK\x06\x07" + struct.pack("<IQI", 0, where, 1))
                file.write(
                    end + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
                )

        return write

    deflated = zipfile.ZIP_DEFLATED
    return {
        "zip_bomb_in_pickle.pth": (
            "damaged",
            records(("archive/data.pkl", raw(bomb) + STOP), compression=deflated),
        ),
        "zip_bomb_in_storage.pth": (
            "damaged",
            records(("archive/data.pkl", plain), ("archive/data/0", bomb), compression=deflated),
        ),
        "zip_bzip2.pth": ("damaged", records(("archive/data.pkl", plain), compression=zipfile.ZIP_BZIP2)),
        "zip_lzma.pth": ("damaged", records(("archive/data.pkl", plain), compression=zipfile.ZIP_LZMA)),
        "zip_two_pickles.pth": (
            "damaged",
            records(("archive/data.pkl", plain), ("archive/data.pkl", system), ("archive/data/0", FOUR)),
        ),
        "zip_two_pickles_by_nul.pth": (
            "damaged",
            patched((b"archive/data/0", 0, b"archive/data.p")),
        ),
        "zip_two_folders.pth": ("damaged", records(("archive/data.pkl", plain), ("b/data.pkl", system))),
        "zip_absolute.pth": ("damaged", records((f"{sentinel}/data.pkl", plain))),
        "zip_parent.pth": ("damaged", records(("../data.pkl", plain))),
        "zip_without_pickle.pth": ("damaged", records(("archive/data/0", FOUR))),
        "zip_no_records.pth": ("damaged", lambda path: path.write_bytes(local + end + bytes(18))),
        "zip_storage_missing.pth": ("damaged", records(("archive/data.pkl", plain))),
        "zip_of_text.pth": ("damaged", records(("hello/readme.txt", b"hello"))),
        "zip_big_endian.pth": ("damaged", lambda path: write_zip(path, plain, byteorder=b"big")),
        "zip_byteorder_huge.pth": ("damaged", lambda path: write_zip(path, plain, byteorder=bomb[:1 << 24])),
        "zip_crc_lies.pth": ("damaged", patched((central, 16, b"\0\0\0\0"))),
        "zip_size_lies.pth": ("damaged", patched((central, 24, b"\xf0\xff\xff\x7f"))),
        "zip_size_lies_by_one.pth": ("damaged", patched((central, 24, b"\xff\xff"))),
        "zip_zip64_lies.pth": ("damaged", patched((central, 20, b"\xff\xff\xff\xff\xff\xff\xff\xff"))),
        "zip_offset_lies.pth": ("damaged", patched((central, 42, b"\xff\xff\xff\x7f"))),
        "zip_offset_inside.pth": ("damaged", patched((central, 42, b"\x05\0\0\0"))),
        "zip_encrypted.pth": ("damaged", patched((local, 6, b"\x01\0"), (central, 8, b"\x01\0"))),
        "zip_strongly_encrypted.pth": ("damaged", patched((local, 6, b"\x41\0"), (central, 8, b"\x41\0"))),
        "zip_method_unknown.pth": ("damaged", patched((local, 8, b"\x63\0"), (central, 10, b"\x63\0"))),
        "zip_directory_gone.pth": ("damaged", patched((end, 16, b"\xff\xff\xff\x7f"))),
        "zip_name_differs.pth": ("damaged", patched((local, 30, b"brchive/"))),
        "zip_comment.pth": ("loads", patched((end, 20, b"\0\0"))),
        "zip_comment_cut.pth": ("loads damaged", patched((end, 20, b"\xff\x00"))),
        "zip_second_end_in_comment.pth": (
            "damaged",
            around(after=end + bytes(16) + b"\0\0"),
        ),
        "zip_text_after.pth": ("loads damaged", around(after=b"hello" * 100)),
        "zip_after_a_pickle.pth": ("refused", around(before=b"\x80\x02" + system)),
        "zip_after_text.pth": ("damaged", around(before=b"#!/bin/sh\necho\n")),
        "zip_after_a_zip.pth": ("loads damaged", around(before=local + bytes(26))),
        "zip_overlapping.pth": ("damaged", overlapping),
        "zip_1e6_entries.pth": ("damaged", many(1_000_000, 20)),
        "zip_long_names.pth": ("damaged", many(2_000, 65_000)),
    }  # fmt: skip


@kind
def _tensor(sentinel: str) -> Files:
    half = 1 << 62
    v3 = name("torch._utils:_rebuild_tensor_v3")

    def of(dtype: str) -> bytes:
        arguments = (storage(number(16), dtype="torch.storage:UntypedStorage"), number(0), numbers(4))
        return call(v3, *arguments, numbers(1), FALSE, ORDERED_DICT, name(dtype))

    def lazy(key: str) -> bytes:
        v2 = name("torch._utils:_rebuild_tensor_v2")
        more = (numbers(4), numbers(1), FALSE, ORDERED_DICT, dict_of({key: TRUE}))
        return call(v2, storage(number(4)), number(0), *more)

    lies = {
        "size": tensor(size=numbers(5)),
        "size_huge": tensor(size=numbers(10**12)),
        "size_negative": tensor(size=numbers(-4)),
        "size_overflow": tensor(size=numbers(1 << 32, 1 << 32), stride=numbers(0, 0)),
        "size_beyond_int64": tensor(size=numbers(1 << 200)),
        "size_zero_overflow": tensor(size=numbers(half, half, 0), stride=numbers(1, 1, 1)),
        "size_of_big_numbers": tensor(
            size=list_of(*[number(3 ** (1 << 16))] * 40), stride=list_of(*[number(1)] * 40)
        ),
        "size_of_text": tensor(size=text("4")),
        "size_of_floats": tensor(size=tuple_of(pickle.BINFLOAT + struct.pack(">d", 4.0))),
        "size_of_bools": tensor(size=tuple_of(TRUE)),
        "size_tensor": tensor(size=tensor()),
        "offset_negative": tensor(offset=number(-1)),
        "offset_huge": tensor(offset=number(half)),
        "offset_float": tensor(offset=pickle.BINFLOAT + struct.pack(">d", 0.0)),
        "offset_tensor": tensor(offset=tensor()),
        "stride_negative": tensor(stride=numbers(-1)),
        "stride_huge": tensor(stride=numbers(half)),
        "stride_short": tensor(size=numbers(2, 2), stride=numbers(1)),
        "stride_zero": tensor(size=numbers(10**12), stride=numbers(0)),
        "stride_zero_twice": tensor(size=numbers(10**6, 10**6), stride=numbers(0, 0)),
        "dimensions_65": tensor(size=numbers(*[1] * 65), stride=numbers(*[1] * 65)),
        "numel": tensor(numel=number(5)),
        "numel_negative": tensor(numel=number(-4)),
        "numel_huge": tensor(numel=number(10**12)),
        "numel_float": tensor(numel=pickle.BINFLOAT + struct.pack(">d", 4.0)),
        "numel_bool": tensor(numel=TRUE),
        "numel_text": tensor(numel=text("4")),
        "storage_none": call(
            name("torch._utils:_rebuild_tensor_v2"),
            NONE,
            number(0),
            numbers(4),
            numbers(1),
            FALSE,
            NONE,
        ),
        "storage_tensor": call(
            name("torch._utils:_rebuild_tensor_v2"), tensor(), number(0), numbers(4), numbers(1)
        ),
        "storage_key_outside": tensor(key="../../etc/passwd"),
        "storage_key_long": tensor(key="k" * 1_000_000),
        "dtype_wider": tensor(dtype="torch:DoubleStorage"),
        "dtype_two": list_of(tensor(), tensor(dtype="torch:DoubleStorage")),
        "dtype_object": of("collections:OrderedDict"),
        "dtype_v3_wider": of("torch:float64"),
        "arguments_none": call(name("torch._utils:_rebuild_tensor_v2")),
        "arguments_list": name("torch._utils:_rebuild_tensor_v2") + list_of(NONE) + pickle.REDUCE,
        "arguments_tensor": name("collections:OrderedDict") + tensor() + pickle.REDUCE,
        "conjugate": lazy("conj"),
        "parameter_of_text": call(
            name("torch._utils:_rebuild_parameter"), text("x"), TRUE, ORDERED_DICT
        ),
        "build": build(tensor(), dict_of({"grad": NONE})),
        "unpacked_pid": tensor() + pickle.BINPERSID,
    }
    odd = {
        **{
            f"storage_{t}": tensor(dtype=f"torch:{t}")
            for t in ("quint8", "qint32", "quint4x2", "bits8")
        },
        **{
            f"v3_{t}": of(f"torch:{t}")
            for t in ("qint8", "qint32", "int4", "float4_e2m1fn_x2", "nodtype")
        },
        "quantized_storage": tensor(dtype="torch:QInt8Storage"),
        "cuda_storage": tensor(dtype="torch.cuda:FloatStorage"),
    }
    fine = {
        "bool_of_twos": tensor(dtype="torch:BoolStorage", size=numbers(16), numel=number(16)),
        "complex": tensor(dtype="torch:ComplexFloatStorage", size=numbers(2), numel=number(2)),
        "float8": of("torch:float8_e5m2") if hasattr(torch, "float8_e5m2") else tensor(),
        "expanded": tensor(size=numbers(1000, 4), stride=numbers(0, 1)),
        "no_numbers": tensor(size=numbers(0, 5), stride=numbers(5, 1)),
        "dimensions_64": tensor(size=numbers(*[1] * 64), stride=numbers(*[1] * 64)),
        "none_beside": dict_of({"weight": NONE, "a": tensor()}),
    }  # fmt: skip
    found: Files = {}
    for i, (lie, value) in enumerate({**lies, **odd}.items()):
        pickled = checkpoint("x", NONE, weights=value)
        # The length of the storages is a lie in these, which follow the pickle in a legacy file.
        write = write_legacy if i % 4 == 3 and "numel" not in lie else write_zip
        found[f"tensor_{lie}.pth"] = ("damaged refused", lambda path, p=pickled, w=write: w(path, p))
    for lie, value in fine.items():
        pickled = checkpoint("x", NONE, weights=value)
        expected = "empty" if lie == "none_beside" else "loads"
        found[f"tensor_{lie}.pth"] = (expected, lambda path, p=pickled: write_zip(path, p))
    named = {
        "blocks.0.attn.qkv.weight": tensor(),
        "cls_token": tensor(size=tuple_of(), stride=tuple_of()),
    }
    named |= {
        "pos_embed": tensor(size=tuple_of(), stride=tuple_of()),
        "patch_embed.proj.weight": tensor(),
    }
    named |= {"decoder_pos_embed": tensor(), "blocks.99999999999.norm1.weight": tensor()}
    for wrong, prefix in (("official", ""), ("own", "backbone."), ("clip", "visual.")):
        state = {prefix + key: value for key, value in named.items()}
        if wrong == "clip":
            state |= {f"visual.{k}": tensor() for k in ("conv1.weight", "class_embedding", "proj")}
            state["visual.positional_embedding"] = tensor(size=tuple_of(), stride=tuple_of())
        pickled = dict_of({"model": dict_of(state)}) + STOP
        found[f"tensor_shapes_{wrong}.pth"] = ("loads", lambda path, p=pickled: write_zip(path, p))
    return found


@kind
def _numpy(sentinel: str) -> Files:
    code = pickle.dumps(print)

    def state(*values: bytes) -> bytes:
        return tuple_of(number(3), *values)

    minus = number(-1)
    scalar = name("numpy.core.multiarray:scalar")
    object_dtype = call(name("numpy:dtype"), text("O8"), number(0), number(1))
    wrong = {
        "object": array(code=text("O8")),
        "object_short": array(code=text("|O")),
        "structured": array(code=list_of(tuple_of(text("a"), text("O")))),
        "fields": array(state=state(text("<"), NONE, tuple_of(text("a")), dict_of({"a": NONE}), minus, minus, number(0))),
        "subarray": array(state=state(text("<"), tuple_of(text("f4"), numbers(1 << 40)), NONE, NONE, minus, minus, number(0))),
        "big_endian": array(order=">"),
        "state_none": array(state=NONE),
        "shape_negative": array(shape=numbers(-2)),
        "shape_huge": array(shape=numbers(1 << 40)),
        "shape_overflow": array(shape=numbers(1 << 62, 1 << 62, 4)),
        "shape_list": array(shape=list_of(number(2))),
        "shape_first": array(first_shape=numbers(1 << 40)),
        "bytes_missing": array(data=raw(b"")),
        "bytes_too_many": array(data=raw(bytes(9))),
        "bytes_list": array(data=list_of(number(1), number(2))),
        "text_wide": array(data=text("\U0001F600\U0001F600")),
        "subclass": array(owner="numpy:memmap"),
        "matrix": array(owner="numpy:matrix"),
        "code_class": array(owner="subprocess:Popen"),
        "datetime": array(code=text("M8[us]")),
        "code_number": array(code=number(7)),
        "code_nest": array(code=_nested_twos(60)),
        "scalar_object": call(scalar, object_dtype, raw(code)),
        "scalar_short": call(scalar, call(name("numpy:dtype"), text("f8")), raw(b"1")),
        "scalar_tensor": call(scalar, call(name("numpy:dtype"), text("f8")), text(sentinel)),
        "buffer_huge": call(
            name("numpy.core.numeric:_frombuffer"), raw(FOUR), call(name("numpy:dtype"), text("f4")), numbers(1 << 40), text("C")
        ),
    }  # fmt: skip
    fine = {
        "flags": array(flags=number(0x3F)),  # the reader leaves them
        "text": array(code=text("S4"), state=state(text("|"), NONE, NONE, NONE, number(4), number(1), number(0))),
        "bool_of_twos": array(code=text("b1"), data=raw(b"\x02\x03")),
        "long_double": array(code=text("f16"), data=raw(bytes(32))),
    }  # fmt: skip
    found: Files = {}
    for way, value in wrong.items():
        pickled = dict_of({"model": dict_of({"x": value})}) + STOP
        found[f"numpy_{way}.pkl"] = ("damaged refused", lambda path, p=pickled: write_plain(path, p))
    for way, value in fine.items():
        pickled = dict_of({"model": dict_of({"x": value})}) + STOP
        found[f"numpy_{way}.pkl"] = ("loads empty", lambda path, p=pickled: write_plain(path, p))
    return found


def _nested_twos(depth: int) -> bytes:
    """A list of a list twice of a list twice...: 2 ** depth leaves, as soon as it is printed or hashed."""
    value = list_of(number(1)) + keep(1000)
    for i in range(depth):
        value = discard(value) + list_of(kept(1000 + i), kept(1000 + i)) + keep(1001 + i)
    return value


def _array_of_one_text(length: int) -> bytes:
    """Arrays whose bytes are one text, which each would encode."""
    dtype = call(name("numpy:dtype"), text("i1"))
    state = tuple_of(number(1), numbers(length), dtype, FALSE, text("x" * length))
    empty = tuple_of(name("numpy:ndarray"), numbers(0), raw(b"b"))
    prepare = tuple_of(
        name("numpy.core.multiarray:_reconstruct") + keep(1), empty + keep(2), state + keep(3)
    )
    each = kept(1) + kept(2) + pickle.REDUCE + kept(3) + pickle.BUILD
    return discard(prepare) + list_of(*[each] * 20_000)


@kind
def _memory(sentinel: str) -> Files:
    """Files that claim memory or time."""
    million = 1_000_000
    history = name("mmengine.logging.history_buffer:HistoryBuffer")
    namespace = name("argparse:Namespace")
    function = {
        "OrderedDict": name("collections:OrderedDict"),
        "deque": name("collections:deque"),
        "set": name("builtins:set"),
        "bytes": name("builtins:bytes"),
        "size": name("torch:Size"),
        "encode": name("_codecs:encode"),
    }

    def often(value: bytes, count: int = million, prepare: bytes = b"") -> bytes:
        """A list of `count` values; `prepare` remembers what they share."""
        return (discard(prepare) if prepare else b"") + list_of(*[value] * count)

    def kept_call(what: str, argument: bytes, count: int) -> bytes:
        prepare = tuple_of(function[what] + keep(1), tuple_of(argument) + keep(2))
        return often(kept(1) + kept(2) + pickle.REDUCE, count, prepare)

    long_list = list_of(*[pickle.BININT1 + b"\1"] * 200_000)
    thousand = dict_of({str(i): NONE for i in range(50_000)})
    prime = (1 << 61) - 1
    tuples = pickle.EMPTY_TUPLE + pickle.TUPLE1 * 300_000
    one_deque = call(function["deque"])
    deques = one_deque * 30_000 + pickle.APPEND * 29_999
    nest_objects = b"".join(create(namespace) + pickle.EMPTY_DICT + text("a") for _ in range(50_000))
    nest_objects += NONE + (pickle.SETITEM + pickle.BUILD) * 50_000
    shared = tuple_of(
        name("torch._utils:_rebuild_tensor_v2") + keep(1),
        tuple_of(storage(number(4)), number(0), numbers(4), numbers(1), FALSE, NONE) + keep(2),
    )
    big = storage(number(1 << 18))
    expand = tuple_of(
        name("torch._utils:_rebuild_tensor_v2") + keep(1),
        tuple_of(big, number(0), numbers(1 << 18), numbers(1), FALSE, NONE) + keep(2),
    )
    values = {
        "bytes_of_a_number": lambda: call(function["bytes"], number(10**12)),
        "bytearray_of_a_number": lambda: call(name("builtins:bytearray"), number(10**12)),
        "range": lambda: call(name("builtins:list"), call(name("builtins:range"), number(10**12))),
        "memo_index": lambda: NONE + pickle.LONG_BINPUT + struct.pack("<I", (1 << 31) + 7),
        "memo_line": lambda: NONE + pickle.PUT + b"9" * 4000 + b"\n",
        "number_of_digits": lambda: pickle.INT + b"9" * million + b"\n",
        "number_of_bytes": lambda: pickle.LONG4 + struct.pack("<i", (1 << 31) - 1),
        "text_length": lambda: pickle.BINUNICODE8 + struct.pack("<Q", 1 << 60),
        "bytes_length": lambda: pickle.BINBYTES8 + struct.pack("<Q", 1 << 36),
        "bytearray_length": lambda: pickle.BYTEARRAY8 + struct.pack("<Q", 1 << 36),
        "frame_length": lambda: pickle.FRAME + struct.pack("<Q", 1 << 60) + NONE,
        "frame_of_64_GB": lambda: pickle.FRAME + struct.pack("<Q", 1 << 36) + NONE,
        "text_with_an_emoji": lambda: text("a" * (1 << 26) + "\U0001F600"),
        "text_lines_with_emojis": lambda: often(pickle.UNICODE + b"a" * (1 << 20) + b"\\U0001F600\n", 60),
        "texts_with_emojis": lambda: often(text("a" * 10_000 + "\U0001F600"), 9_000),
        "dicts": lambda: often(pickle.EMPTY_DICT, 3 * million),
        "dicts_of_one": lambda: often(pickle.EMPTY_DICT + NONE + NONE + pickle.SETITEM, million),
        "lists": lambda: often(pickle.EMPTY_LIST + NONE + pickle.APPEND, million),
        "memos": lambda: often(NONE + pickle.MEMOIZE, 3 * million),
        "marks": lambda: pickle.MARK * (3 * million) + pickle.POP * (3 * million) + NONE,
        "OrderedDicts": lambda: often(kept(1) + pickle.EMPTY_TUPLE + pickle.REDUCE, million, function["OrderedDict"] + keep(1)),
        "deques": lambda: often(kept(1) + pickle.EMPTY_TUPLE + pickle.REDUCE, million, function["deque"] + keep(1)),
        "objects": lambda: often(kept(1) + pickle.EMPTY_TUPLE + pickle.NEWOBJ, million, namespace + keep(1)),
        "arrays": lambda: often(
            kept(1) + kept(2) + pickle.REDUCE, million,
            tuple_of(name("numpy.core.multiarray:_reconstruct") + keep(1), tuple_of(name("numpy:ndarray"), numbers(0), raw(b"b")) + keep(2)),
        ),
        "tensors": lambda: often(kept(1) + kept(2) + pickle.REDUCE, million, shared),
        "tensors_of_one_storage": lambda: often(kept(1) + kept(2) + pickle.REDUCE, 60_000, expand),
        "copies_of_a_list": lambda: kept_call("size", long_list, 20_000),
        "copies_in_deques": lambda: kept_call("deque", long_list, 20_000),
        "copies_in_dicts": lambda: kept_call("OrderedDict", list_of(*[numbers(i, 0) for i in range(100_000)]), 5_000),
        "copies_in_sets": lambda: kept_call("set", list_of(*[number(i) for i in range(100_000)]), 5_000),
        "copies_of_text": lambda: often(
            kept(1) + kept(2) + pickle.REDUCE, 20_000,
            tuple_of(function["encode"] + keep(1), tuple_of(text("x" * million), text("latin1")) + keep(2)),
        ),
        "copies_of_scalars": lambda: often(
            kept(1) + kept(2) + pickle.REDUCE, 20_000,
            tuple_of(name("numpy.core.multiarray:scalar") + keep(1), tuple_of(call(name("numpy:dtype"), text(f"S{million}")), raw(b"x" * million)) + keep(2)),
        ),
        "copies_in_attributes": lambda: often(
            create(kept(1)) + kept(2) + pickle.BUILD, 10_000, tuple_of(history + keep(1), thousand + keep(2))
        ),
        "copies_of_array_text": lambda: _array_of_one_text(million),
        "iterated_tensor": lambda: call(function["OrderedDict"], tensor(size=numbers(1 << 24), numel=number(1 << 24), dtype="torch:ByteStorage")),
        "arguments_of_a_tensor": lambda: function["deque"] + tensor(size=numbers(1 << 24), numel=number(1 << 24), dtype="torch:ByteStorage") + pickle.REDUCE,
        "size_of_a_tensor": lambda: tensor(size=tensor(size=numbers(1 << 24), numel=number(1 << 24), dtype="torch:ByteStorage"), dtype="torch:ByteStorage"),
        "pid_of_a_tensor": lambda: tensor(size=numbers(1 << 24), numel=number(1 << 24), dtype="torch:ByteStorage") + pickle.BINPERSID,
        "keys_of_one_hash": lambda: pickle.EMPTY_DICT + pickle.MARK + b"".join(number(i * prime) + NONE for i in range(1, 200_000)) + pickle.SETITEMS,
        "set_of_one_hash": lambda: call(function["set"], list_of(*[number(i * prime) for i in range(1, 200_000)])),
        "key_tuple_nest": lambda: pickle.EMPTY_DICT + tuples + NONE + pickle.SETITEM,
        "key_tuple_laughs": lambda: pickle.EMPTY_DICT + pickle.EMPTY_TUPLE + (pickle.DUP + pickle.TUPLE2) * 60 + NONE + pickle.SETITEM,
        "name_of_64_MB": lambda: name("a" * (1 << 26) + ":b"),
        "product_of_big_sizes": lambda: tensor(size=tuple_of(*[number(1 << (1 << 23))] * 8), stride=numbers(*[0] * 8)),
    }  # fmt: skip
    fine = {
        "laughs_in_lists": lambda: _nested_twos(60),
        "nested_lists": lambda: pickle.EMPTY_LIST * 100_000 + pickle.APPEND * 99_999,
        "nested_tuples": lambda: tuples,
        "nested_dicts": lambda: (
            pickle.EMPTY_DICT + (text("a") + pickle.EMPTY_DICT) * 100_000 + pickle.SETITEM * 100_000
        ),
        "nested_objects": lambda: nest_objects,
        "nested_deques": lambda: deques,
        "nested_history": lambda: build(create(history), dict_of({"_log_history": _nested_twos(60)})),
        "history_of_nothing": lambda: create(history),
        "history_methods_replaced": lambda: build(
            create(history), dict_of({"mean": NONE, "data": NONE})
        ),
        "iterations": lambda: number(1 << 10_000),
        "long_key": lambda: pickle.EMPTY_DICT + text("k" * 9_000) + NONE + pickle.SETITEM,
    }
    zeros = {"0": bytes(1 << 24)}
    found: Files = {}
    for way, value in values.items():
        found[f"memory_{way}.pth"] = (
            "damaged refused loads",
            lambda path, v=value, s=zeros if "tensor" in way else None: write_zip(
                path, checkpoint("message_hub.x", v()), s
            ),
        )
    for way, value in fine.items():
        found[f"memory_{way}.pth"] = (
            "loads",
            lambda path, v=value: write_zip(path, checkpoint("message_hub.x", v())),
        )
    keys = pickle.PROTO + b"\x02" + list_of(pickle.EMPTY_TUPLE + pickle.TUPLE1 * 300_000) + STOP
    laughs = list_of(pickle.EMPTY_TUPLE + (pickle.DUP + pickle.TUPLE2) * 60) + STOP
    plain = checkpoint("x", NONE)
    found["memory_legacy_key_nest.pth"] = ("damaged", lambda p: write_legacy(p, plain, keys))
    found["memory_legacy_key_laughs.pth"] = ("damaged", lambda p: write_legacy(p, plain, laughs))
    found["memory_long_message.pth"] = (
        "loads empty",
        lambda path: write_zip(path, dict_of({"k\n" * 4_000 + str(i): NONE for i in range(9)}) + STOP),
    )
    found["memory_number_keys.pth"] = (
        "loads empty",
        lambda path: write_zip(path, pickle.EMPTY_DICT + number(1) + tensor() + pickle.SETITEM + STOP),
    )
    for top in ("memory_nested_lists.pkl", "memory_nested_tuples.pkl", "memory_laughs_in_lists.pkl"):
        value = fine[top.removeprefix("memory_").removesuffix(".pkl")]
        found[top] = ("loads empty", lambda path, v=value: write_plain(path, v() + STOP))
    return found


@kind
def _legacy(sentinel: str) -> Files:
    """Files of torch < 1.6."""
    plain = checkpoint("x", NONE)

    def declared(numel: int, size: int = 4) -> bytes:
        return checkpoint("x", NONE, weights=tensor(size=numbers(size), numel=number(numel)))

    def view(*values: bytes) -> bytes:
        pid = tuple_of(
            text("storage"), name("torch:FloatStorage"), text("0"), text("cpu"), number(4), *values
        )
        rebuild = name("torch._utils:_rebuild_tensor")
        return checkpoint(
            "x", NONE, weights=call(rebuild, pid + pickle.BINPERSID, number(0), numbers(2), numbers(1))
        )

    def write(pickled: bytes = plain, **more: bytes) -> tuple[str, Write]:
        return "damaged", lambda path: write_legacy(path, pickled, **more)

    stored = struct.pack("<q", 10**12)
    return {
        "legacy_storage_of_1e12.pth": write(declared(10**12), storages=stored + FOUR),
        "legacy_tensor_of_1e12.pth": write(declared(10**12, 10**12), storages=stored + FOUR),
        "legacy_storage_overflow.pth": write(declared(1 << 62), storages=struct.pack("<q", 1 << 62)),
        "legacy_storage_beyond_int64.pth": write(declared(1 << 70)),
        "legacy_storage_negative.pth": write(declared(-1), storages=struct.pack("<q", -1)),
        "legacy_length_differs.pth": write(storages=struct.pack("<q", 3) + FOUR),
        "legacy_storage_missing.pth": write(storages=b""),
        "legacy_keys_missing.pth": write(keys=pickle.dumps([])),
        "legacy_keys_of_others.pth": write(keys=pickle.dumps(["1"])),
        "legacy_keys_numbers.pth": write(keys=pickle.dumps([0])),
        "legacy_keys_unhashable.pth": write(keys=pickle.dumps([[]])),
        "legacy_keys_twice.pth": write(keys=pickle.dumps(["0", "0"])),
        "legacy_keys_dict.pth": write(keys=pickle.dumps({"0": 1})),
        "legacy_view_outside.pth": write(view(tuple_of(text("v"), number(3), number(4)))),
        "legacy_view_negative.pth": write(view(tuple_of(text("v"), number(-3), number(2)))),
        "legacy_view_text.pth": write(view(text("abc"))),
        "legacy_view_huge.pth": write(view(tuple_of(text("v"), number(0), number(1 << 70)))),
        "legacy_magic_alone.pth": (
            "damaged",
            lambda path: path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2)),
        ),
        "legacy_magic_true.pth": (
            "damaged empty",
            lambda path: path.write_bytes(pickle.dumps(True, 2)),
        ),
        "legacy_magic_array.pkl": ("empty", lambda path: write_plain(path, array() + STOP)),
    }


@kind
def _safetensors(sentinel: str) -> Files:
    def write(header: object, data: bytes = FOUR, length: int | None = None) -> Write:
        encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
        size = len(encoded) if length is None else length
        return lambda path: path.write_bytes(struct.pack("<Q", size) + encoded + data)

    def one(dtype: str = "F32", shape: object = (4,), offsets: object = (0, 16)) -> dict:
        return {"x": dict(dtype=dtype, shape=shape, data_offsets=offsets)}

    zeros = {str(i): one(shape=[0], offsets=[0, 0])["x"] for i in range(200_000)}
    twice = b'{"x":%b,"x":%b}' % ((json.dumps(one()["x"]).encode(),) * 2)
    wrong = {
        "header_huge": write(one(), length=1 << 62),
        "header_of_90_MB": write(one(), length=90_000_000),
        "header_short": write(one(), length=5),
        "header_none": write(b"{", b""),
        "header_deep": write(b'{"x":' * 100_000),
        "header_of_many": write(zeros),
        "header_not_utf8": write(b'{"\xff":1}'),
        "offsets_reversed": write(one(offsets=[16, 0])),
        "offsets_outside": write(one(shape=[8], offsets=[0, 32])),
        "offsets_overlap": write({**one(), "y": one()["x"]}),
        "offsets_gap": write({**one(), "y": one(offsets=[20, 36])["x"]}, bytes(36)),
        "offsets_negative": write(one(offsets=[-16, 0])),
        "dtype_wider": write(one("F64")),
        "dtype_unknown": write(one("OBJECT")),
        "dtype_code": write(one("__import__('os')")),
        "shape_overflow": write(one(shape=[1 << 62, 1 << 62])),
        "shape_beyond_int64": write(one(shape=[1 << 63, 0], offsets=[0, 0]), b""),
        "shape_negative": write(one(shape=[-4])),
        "shape_65": write(one(shape=[1] * 64 + [4])),
        "shape_of_million": write(one(shape=[1] * 1_000_000 + [4])),
        "bytes_after": write(one(), FOUR + b"x"),
        "data_missing": write(one(), b""),
    }
    fine = {
        "metadata": write({"__metadata__": {"x": "y" * 1_000_000}, **one()}),
        "twice": write(twice),
        "float8": write(one("F8_E4M3", [16])),
    }
    return {
        **{f"st_{way}.safetensors": ("damaged", w) for way, w in wrong.items()},
        **{f"st_{way}.safetensors": ("loads damaged", w) for way, w in fine.items()},
    }


@kind
def _broken(sentinel: str) -> Files:
    """Genuine files that were cut, or of which some bytes changed."""
    state = {f"blocks.{i}.weight": torch.arange(3000.0) for i in range(8)}
    content = {"state_dict": state, "meta": {"epoch": 1, "iter": 1}, "optimizer": {"state": {0: state}}}
    buffers = {"pth": io.BytesIO(), "legacy.pth": io.BytesIO(), "pkl": io.BytesIO()}
    torch.save(content, buffers["pth"])
    torch.save(content, buffers["legacy.pth"], _use_new_zipfile_serialization=False)
    pickle.dump({"model": {k: v.numpy() for k, v in state.items()}}, buffers["pkl"])
    found: Files = {}

    def add(file: str, data: bytes, expected: str = "damaged") -> None:
        found[file] = (expected, lambda path: path.write_bytes(data))

    chance = random.Random(0)
    for ending, buffer in buffers.items():
        whole = buffer.getvalue()
        for part in (0.001, 0.1, 0.5, 0.9, 0.999):
            add(f"cut_{part}.{ending}", whole[: int(len(whole) * part)])
        add(f"cut_by_one.{ending}", whole[:-1])
        noise = chance.randbytes(4096)
        for place in ("start", "middle", "end"):
            start = {"start": 0, "middle": len(whole) // 2, "end": len(whole) - 4096}[place]
            changed = whole[:start] + noise + whole[start + 4096 :]
            # Only the zip format has checksums: elsewhere noise among the numbers cannot be seen.
            fine = ending != "pth" and place != "start"
            expected = "loads damaged refused empty" if fine else "damaged"
            add(f"noise_at_{place}.{ending}", changed, expected)
        flipped = bytearray(whole)
        flipped[len(whole) // 3] ^= 4
        add(f"bit_flipped.{ending}", bytes(flipped), "damaged" if ending == "pth" else "loads damaged")
    return found


@kind
def _other(sentinel: str) -> Files:
    """Files of other formats, and what is no file."""

    def data(content: bytes) -> tuple[str, Write]:
        return "damaged", lambda path: path.write_bytes(content)

    def archive(path: Path) -> None:
        with tarfile.open(path, "w") as tar:
            tar.add(__file__, "storages")

    def unreadable(path: Path) -> None:
        path.write_bytes(b"x")
        path.chmod(0)

    png = b"\x89PNG\r\n\x1a\n" + bytes(100)
    return {
        "empty.pth": data(b""),
        "one_byte.pth": data(b"\x80"),
        "nuls.pth": data(bytes(100_000)),
        "text.pth": data(b"hello\n" * 100),
        "page.pth": data(b"<!DOCTYPE html><html><title>404</title></html>"),
        "pointer.pth": data(b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 12\n"),
        "json.pth": data(b'{"state_dict": {}}'),
        "picture.pth": data(png),
        "gzip.pth": data(gzip.compress(b"hello")),
        "script.pth": data(b"#!/bin/sh\ntouch executed\n"),
        "pickle_of_none.pkl": ("empty", lambda path: path.write_bytes(pickle.dumps(None))),
        "pickle_of_text.pkl": ("empty", lambda path: path.write_bytes(pickle.dumps("hello"))),
        "tar.pth": ("damaged", archive),
        "folder.pth": ("missing", lambda path: path.mkdir()),
        "fifo.pth": ("missing", os.mkfifo),
        "loop.pth": ("missing", lambda path: path.symlink_to(path)),
        "dangling.pth": ("missing", lambda path: path.symlink_to("nowhere.pth")),
        "device.pth": ("missing", lambda path: path.symlink_to("/dev/zero")),
        **({} if os.getuid() == 0 else {"unreadable.pth": ("missing", unreadable)}),
    }


if __name__ == "__main__":
    target = Path(sys.argv[1]).absolute()
    target.mkdir(parents=True)
    print(f"wrote {len(write_all(target))} files to {target}")
