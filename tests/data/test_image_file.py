"""One reader for pretraining and fine-tuning, and the files that it refuses."""

import importlib.util
import os
import socket
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from mmmim.data import image_file
from mmmim.data.image_file import MAX_PIXELS, ImageDecodeError, ImageFile, read_rgb
from mmmim.data.labelled_transforms import LoadLabelledImage

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


def photo(size=(67, 41)) -> Image.Image:
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    noise = np.random.default_rng(0).integers(0, 60, (size[1], size[0], 3))
    waves = np.stack([3 * x % 180, 5 * y % 180, (x + y) % 180], 2)
    return Image.fromarray((waves + noise).astype(np.uint8))


def save(path: Path, mode: str, **options) -> Path:
    if mode == "I;16":
        gray = np.asarray(photo().convert("L")).astype(np.uint16)
        Image.fromarray(gray * 257).save(path)
    else:
        photo().convert(mode).save(path, **options)
    return path


def turned(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


KINDS = [
    ("RGB", "jpg", {}),
    ("RGB", "jpg", dict(quality=30, subsampling="4:1:1", progressive=True)),
    ("RGB", "jpg", dict(exif=turned(6))),
    ("RGB", "jpg", dict(exif=turned(5))),
    ("RGB", "jpg", dict(exif=turned(9))),  # no orientation that EXIF knows
    ("L", "jpg", {}),
    ("CMYK", "jpg", {}),
    ("CMYK", "jpg", dict(exif=turned(8))),
    ("RGB", "png", dict(exif=turned(3))),
    ("RGBA", "png", {}),
    ("LA", "png", {}),
    ("P", "png", {}),
    ("P", "png", dict(transparency=7)),
    ("1", "png", {}),
    ("I;16", "png", {}),
    ("I;16", "tif", {}),
    ("CMYK", "tif", {}),
    ("RGB", "tif", dict(compression="tiff_lzw")),
    ("RGBA", "webp", dict(lossless=True)),
    ("P", "gif", {}),
    ("RGB", "ppm", {}),
    ("RGB", "bmp", {}),
]


@pytest.mark.parametrize(("mode", "suffix", "options"), KINDS)
def test_fine_tuning_sees_the_pixels_of_pretraining(tmp_path, mode, suffix, options):
    path = save(tmp_path / f"image.{suffix}", mode, **options)
    results = LoadLabelledImage()(dict(img_path=str(path)))
    rgb = results["img"][..., ::-1]
    assert rgb.dtype == np.uint8
    assert (rgb == ImageFile(path).decode().pixels.permute(1, 2, 0).numpy()).all()
    assert (rgb == np.asarray(read_rgb(path))).all()
    assert results["img_shape"] == results["ori_shape"] == rgb.shape[:2]
    assert results["img"].flags.c_contiguous
    as_floats = LoadLabelledImage(to_float32=True)(dict(img_path=str(path)))["img"]
    assert as_floats.dtype == np.float32
    assert (as_floats == results["img"]).all()


@pytest.mark.parametrize(("mode", "options"), [(m, o) for m, s, o in KINDS if s == "jpg"])
def test_torchvision_and_pillow_decode_a_jpeg_to_the_same_pixels(tmp_path, mode, options):
    """torchvision decodes whole JPEGs, being faster; Pillow the reduced and the turned ones."""
    path = save(tmp_path / "image.jpg", mode, **options)
    with Image.open(path) as image:
        pillow = image_file._upright_rgb(image)
    assert (np.asarray(read_rgb(path)) == np.asarray(pillow)).all()


def test_a_16_bit_ramp_is_the_same_ramp_for_both(tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 256), (4, 1)).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "x.png")
    seen = LoadLabelledImage()(dict(img_path=str(tmp_path / "x.png")))["img"]
    assert (seen == (ramp >> 8)[..., None]).all()


def bomb(path: Path, width: int, height: int) -> Path:
    """A PNG that claims a size, of which it holds no pixel."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def text_bomb(path: Path) -> Path:
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "a" * 80_000_000, zip=True)
    photo().save(path, format="PNG", pnginfo=text)
    return path


def cut(path: Path, suffix: str) -> Path:
    whole = save(path.with_suffix(f".whole.{suffix}"), "RGB").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def socket_at(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as end:
        cwd = Path.cwd()
        os.chdir(path.parent)  # the path of a socket is limited to 108 bytes
        try:
            end.bind(path.name)
        finally:
            os.chdir(cwd)
    return path


def link(path: Path, target: str) -> Path:
    path.symlink_to(target)
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


REFUSED = {
    "pipe": (pipe, "got a named pipe. Remove it"),
    "socket": (socket_at, "got a socket"),
    "folder": (folder, "got a folder"),
    "device": (lambda path: link(path, "/dev/zero"), "got a device"),
    "broken link": (lambda path: link(path, "nowhere"), "No such file"),
    "empty": (lambda path: written(path, b""), "the file is empty"),
    "PostScript": (lambda path: written(path, POSTSCRIPT), "none of JPEG, PNG"),
    "PDF": (lambda path: written(path, b"%PDF-1.4\n%%EOF\n"), "none of JPEG, PNG"),
    "WMF": (lambda path: written(path, b"\xd7\xcd\xc6\x9a" + bytes(90)), "none of JPEG, PNG"),
    "text": (lambda path: written(path, b"<html>not found</html>"), "none of JPEG, PNG"),
    "300 megapixels": (
        lambda path: bomb(path, 20_000, 15_000),
        f"more than {MAX_PIXELS} pixels.*tiles",
    ),
    "4 gigapixels": (lambda path: bomb(path, 65_535, 65_535), f"more than {MAX_PIXELS} pixels"),
    "text bomb": (text_bomb, "[Dd]ecompressed data too large"),
    "cut JPEG": (lambda path: cut(path, "jpg"), "truncated"),
    "cut PNG": (lambda path: cut(path, "png"), "truncated"),
    "cut TIFF": (lambda path: cut(path, "tif"), "."),
    "cut WebP": (lambda path: cut(path, "webp"), "."),
    "floats": (
        lambda path: save(path, "F", format="TIFF"),
        "floating-point pixels: convert the file to 8 or 16 bits",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("name", ["image.jpg", "line\nbreak.jpg"])
def test_a_refused_file_is_named_by_both(tmp_path, kind, name):
    make, message = REFUSED[kind]
    path = make(tmp_path / name)
    with pytest.raises(ImageDecodeError, match=message) as error:
        read_rgb(path)
    assert str(path) in str(error.value)
    assert str(error.value).count("\n") == str(path).count("\n")
    with pytest.raises(OSError, match=f"{message}(.|\n)*never skipped") as error:
        LoadLabelledImage()(dict(img_path=str(path)))
    assert str(path) in str(error.value)


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(tmp_path, monkeypatch):
    path, status = pipe(tmp_path / "image.jpg"), save(tmp_path / "other.jpg", "RGB").stat()
    monkeypatch.setattr(Path, "stat", lambda self, **kwargs: status)
    with pytest.raises(ImageDecodeError, match=r"image\.jpg'.*named pipe"):
        read_rgb(path)


def test_a_file_larger_than_any_image_is_not_read(tmp_path, monkeypatch):
    path = save(tmp_path / "image.png", "RGB")
    monkeypatch.setattr(image_file, "MAX_BYTES", 100)
    with pytest.raises(ImageDecodeError, match=r"image\.png': expected at most 100 bytes"):
        read_rgb(path)


def test_the_limit_holds_where_pillows_is_switched_off(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(ImageDecodeError, match=f"more than {MAX_PIXELS}"):
        read_rgb(bomb(tmp_path / "image.png", 20_000, 15_000))


def test_an_image_below_the_limit_gives_no_warning(tmp_path):
    path = bomb(tmp_path / "image.png", 12_000, 12_000)
    spec = importlib.util.spec_from_file_location("fresh", image_file.__file__)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.open_image(path.read_bytes())
    assert not [w for w in caught if w.category is Image.DecompressionBombWarning]


def test_memory_that_runs_out_names_the_file(tmp_path, monkeypatch):
    def fail(image):
        raise MemoryError

    monkeypatch.setattr(image_file, "_upright_rgb", fail)
    with pytest.raises(MemoryError, match=r"image\.png'.*fewer dataloader workers"):
        read_rgb(save(tmp_path / "image.png", "RGB"))


@pytest.mark.parametrize(
    ("annotated", "message"),
    [
        ((30, 40), "67 x 41 pixels, but its annotations say 40 x 30.*resized after annotation"),
        ((67, 41), "67 x 41 pixels, but its annotations say 41 x 67.*EXIF"),
    ],
)
def test_a_size_that_is_not_the_annotations_is_refused(tmp_path, annotated, message):
    """An image turned by EXIF has its upright size, in which boxes are drawn."""
    path = save(tmp_path / "image.jpg", "RGB")
    sample = dict(img_path=str(path), height=41, width=67)
    assert LoadLabelledImage()(sample)["ori_shape"] == (41, 67)
    save(path, "RGB", exif=turned(6))
    assert LoadLabelledImage()(dict(img_path=str(path), height=67, width=41))["ori_shape"] == (67, 41)
    save(path, "RGB")
    height, width = annotated
    with pytest.raises(OSError, match=rf"image\.jpg' has {message}"):
        LoadLabelledImage()(dict(img_path=str(path), height=height, width=width))
