"""Label maps: mmseg's arrays for sound files, and a refusal for all that mmseg casts."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from mmmim.data.labelled_transforms import LoadLabelMap
from mmmim.registry import TRANSFORMS

ALL = np.arange(256, dtype=np.uint8).reshape(16, 16)


def sample(path: Path, reduce_zero_label=False, **changes) -> dict:
    base = dict(seg_map_path=str(path), img_path="image.jpg", label_map=None, seg_fields=[])
    return {**base, "reduce_zero_label": reduce_zero_label, **changes}


def saved(path: Path, values=ALL, mode: str | None = None, **options) -> Path:
    image = Image.fromarray(values)
    if mode == "P":
        image.putpalette(bytes(range(255, -1, -1)) * 3)
    image.save(path, **options)
    return path


@pytest.mark.parametrize("reduce_zero_label", [False, True])
@pytest.mark.parametrize("label_map", [None, {0: 255, 1: 0, 2: 1, 253: 2}])
@pytest.mark.parametrize("kind", ["L", "P", "1", "tif", "bmp", "P4"])
def test_the_arrays_are_mmsegs(tmp_path, kind, label_map, reduce_zero_label):
    path = tmp_path / f"map.{kind if len(kind) == 3 else 'png'}"
    if kind == "P4":  # 4 bits per pixel
        saved(path, ALL % 16, "P", bits=4)
    else:
        saved(path, ALL % 2 == 1 if kind == "1" else ALL, kind)
    arguments = dict(reduce_zero_label=reduce_zero_label, label_map=label_map)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = LoadAnnotations(reduce_zero_label=reduce_zero_label)(sample(path, **arguments))
    ours = TRANSFORMS.build(dict(type="LoadLabelMap"))(sample(path, **arguments))
    assert ours["gt_seg_map"].dtype == theirs["gt_seg_map"].dtype == np.uint8
    assert (ours["gt_seg_map"] == theirs["gt_seg_map"]).all()
    assert ours["seg_fields"] == theirs["seg_fields"] == ["gt_seg_map"]


def truncated(path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 3, (64, 64), dtype=np.uint8)
    data = saved(path, noise).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def gray_of_2_bits(path: Path) -> Path:
    """Pillow would stretch 0 to 3 to 0 to 255."""
    import struct
    import zlib

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 4, 1, 2, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0\x1b")), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def turned(path: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(path, exif=exif)


REFUSED = {
    "16 bits": (lambda path: saved(path, ALL.astype(np.uint16)), "one 8-bit channel.*mode I;16"),
    "RGB": (lambda path: saved(path, np.stack([ALL] * 3, 2)), "one 8-bit channel.*mode RGB"),
    "RGBA": (lambda path: saved(path, np.stack([ALL] * 4, 2)), "one 8-bit channel.*mode RGBA"),
    "gray and alpha": (lambda path: saved(path, np.stack([ALL] * 2, 2)), "mode LA"),
    "floats": (lambda path: saved(path, ALL.astype(np.float32), format="TIFF"), "mode F"),
    "32 bits": (lambda path: saved(path, ALL.astype(np.int32), format="TIFF"), "mode I"),
    "JPEG": (lambda path: saved(path, format="JPEG"), "none of.*PNG"),
    "gray of 2 bits": (gray_of_2_bits, "expected 8 bits per pixel"),
    "turned": (turned, "EXIF orientation"),
    "truncated": (truncated, "truncated"),
    "empty": (lambda path: path.touch(), "empty"),
    "missing": (lambda path: None, "No such file"),
    "numpy": (lambda path: np.save(path.open("wb"), ALL), "none of"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_label_map_is_refused_by_name(tmp_path, kind):
    make, message = REFUSED[kind]
    make(tmp_path / "map.png")
    with pytest.raises(OSError, match=rf"map\.png'.*{message}"):
        LoadLabelMap()(sample(tmp_path / "map.png"))


def test_a_label_that_is_no_class_is_refused_with_its_value(tmp_path):
    path = saved(tmp_path / "map.png", np.array([[0, 1, 2, 9, 9, 255]], np.uint8))
    assert LoadLabelMap(num_classes=10)(sample(path))["gt_seg_map"].max() == 255
    assert LoadLabelMap(num_classes=9)(sample(path, reduce_zero_label=True))["gt_seg_map"].max() == 255
    with pytest.raises(OSError, match=r"map\.png' has labels.*: 9 \(2 pixels\)\. Expected 0 to 8"):
        LoadLabelMap(num_classes=9)(sample(path))
    with pytest.raises(OSError, match=r"9 \(2 pixels\), 255 \(1 pixels\)"):
        LoadLabelMap(num_classes=9, ignore_index=7)(sample(path))
    assert LoadLabelMap(num_classes=9, ignore_index=9)(
        sample(saved(path, np.array([[0, 9]], np.uint8)))
    )


def test_a_map_of_another_size_is_refused_with_both_names(tmp_path):
    path = saved(tmp_path / "map.png")
    LoadLabelMap()(sample(path, ori_shape=(16, 16), img_shape=(8, 8)))  # resized before
    with pytest.raises(OSError, match=r"map\.png' has 16 x 16.*image\.jpg' has 20 x 16"):
        LoadLabelMap()(sample(path, ori_shape=(16, 20)))


def test_a_sample_of_inference_has_no_label_map():
    """mmseg's inferencers drop LoadAnnotations by its name only."""
    assert LoadLabelMap()(dict(img_path="image.jpg")) == dict(img_path="image.jpg")
