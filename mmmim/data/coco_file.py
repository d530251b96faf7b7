"""Faults of an annotation file in COCO's layout that would train wrongly, or crash a library."""

import contextlib
import functools
import gc
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from mmmim.data.image_file import MAX_PIXELS

SHOWN = 3  # places named per fault
NUMBERS = {int, float}


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        text: what is wrong, after a count.
        cure: what to do about it.
        warning: training goes on.
        use: what it concerns, "masks" or "evaluation"; "" if every use of the file.
    """

    text: str
    cure: str
    warning: bool = False
    use: str = ""


EXPORT = "export the annotations again in COCO's layout"
XYWH = "write boxes as [x, y, width, height] in pixels"
POLYGONS = "write a segmentation as [[x1, y1, x2, y2, x3, y3, ...], ...] in pixels, or as RLE"
RLE = "encode the masks again, with pycocotools.mask.encode"
FAULTS = {
    "no id": Fault("entries without id", EXPORT),
    "form": Fault("annotations without image_id or category_id, or of another form", EXPORT),
    "id twice": Fault("ids that occur twice", "number the entries anew; merged files need this"),
    "image": Fault("images without file_name, width or height", EXPORT),
    "image size": Fault(
        f"images whose width and height are no sizes in pixels, or more than {MAX_PIXELS} pixels",
        "take both from the image files, and cut larger images into tiles",
    ),
    "file twice": Fault("image files that occur twice", "merge their entries", warning=True),
    "category": Fault("categories without a name, or with one that occurs twice", EXPORT),
    "no image": Fault("annotations whose image_id is no image's", EXPORT),
    "no category": Fault("annotations whose category_id is no category's", EXPORT),
    "box": Fault("annotations whose bbox is not 4 finite numbers", XYWH),
    "negative": Fault("annotations whose bbox has a negative width or height", XYWH),
    "outside": Fault("annotations whose bbox lies outside the image", XYWH),
    "xyxy": Fault("annotations whose bbox reaches beyond the image, as [x1, y1, x2, y2] would", XYWH),
    "beyond": Fault("annotations whose bbox reaches beyond the image", XYWH, warning=True),
    "area": Fault("annotations without a number as area", "set area to width x height, or the mask's"),
    "empty": Fault(
        "annotations with an empty bbox or area, which mmdet ignores", "remove them", warning=True
    ),
    "crowd": Fault("annotations whose iscrowd is neither 0 nor 1", "set iscrowd=0"),
    "no crowd": Fault(
        "annotations without iscrowd, which COCO's evaluation needs",
        "set iscrowd=0, and 1 for regions of many objects",
        use="evaluation",
    ),
    "id 0": Fault(
        "annotations with id 0, which COCO's evaluation never counts as found",
        "number annotations from 1",
        warning=True,
    ),
    "no mask": Fault(
        "annotations without segmentation, from which masks are trained",
        f"{POLYGONS}, or train a detector without mask head (with_mask=False)",
        use="masks",
    ),
    "polygon": Fault("annotations whose segmentation is no list of polygons", POLYGONS, use="masks"),
    "odd": Fault("annotations with a polygon of an odd number of values", POLYGONS, use="masks"),
    "short": Fault("annotations whose polygons have fewer than 3 points", POLYGONS, use="masks"),
    "short part": Fault(
        "annotations with a polygon of fewer than 3 points, which mmdet ignores",
        "remove these polygons",
        warning=True,
        use="masks",
    ),
    "far": Fault("annotations with a polygon far outside the image", POLYGONS, use="masks"),
    "rle size": Fault("annotations with an RLE of another size than the image", RLE, use="masks"),
    "rle": Fault("annotations with a broken RLE", RLE, use="masks"),
}


@dataclass
class CocoFile:
    """What a check needs of an annotation file; its content is not kept.

    Attributes:
        path: the file.
        missing: which of the three lists it lacks.
        categories: their names, in the order of the file.
        files: names of the image files.
        sizes: (images, 2) width and height.
        images: index of the image of each sound annotation.
        labels: index of the category of each sound annotation.
    """

    path: Path
    missing: list[str]
    categories: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    sizes: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    images: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    _places: dict[str, list[str]] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def add(self, fault: str, place: str) -> None:
        """Count a fault of `FAULTS` at a `place`."""
        self._counts[fault] = self._counts.get(fault, 0) + 1
        places = self._places.setdefault(fault, [])
        if len(places) < SHOWN:
            places.append(place)

    def count(self, fault: str) -> int:
        return self._counts.get(fault, 0)

    def rename(self, fault: str, other: str) -> None:
        """Count the findings of `fault` as `other`."""
        self._counts[other] = self._counts.pop(fault)
        self._places[other] = self._places.pop(fault)

    def lines(self, warning: bool, uses: set[str]) -> list[str]:
        """A line per fault that concerns one of the `uses` or every use: errors, or warnings."""
        return [
            f"'{self.path}' has {count} {FAULTS[name].text} ({self._shown(name)}): {FAULTS[name].cure}"
            for name, count in self._counts.items()
            if FAULTS[name].warning == warning and FAULTS[name].use in uses | {""}
        ]

    def _shown(self, name: str) -> str:
        more = ", ..." if self._counts[name] > SHOWN else ""
        return ", ".join(self._places[name]) + more


def read_coco(path: Path) -> CocoFile:
    """Read and check an annotation file; a second call takes no time while the file is unchanged.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: it is no JSON, or no JSON object.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"annotation file '{path}' not found: set data_root and ann_file of the data set, or the "
            "environment variable that its config names"
        )
    status = path.stat()
    return _read(path, status.st_mtime_ns, status.st_size)


@contextlib.contextmanager
def _without_gc() -> Iterator[None]:
    """Without garbage collection, which goes through millions of lists and numbers again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@functools.lru_cache(maxsize=8)
@_without_gc()
def _read(path: Path, mtime: int, size: int) -> CocoFile:
    try:
        with path.open() as file:  # as pycocotools does
            content = json.load(file)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"'{path}' is no JSON: {error}. It was probably cut while it was written: {EXPORT}"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"'{path}' must hold a JSON object, got a {type(content).__name__}: {EXPORT}")
    lists = {
        name: content[name] if isinstance(content.get(name), list) else []
        for name in ("images", "annotations", "categories")
    }
    found = CocoFile(path, [name for name in lists if not isinstance(content.get(name), list)])
    labels = _index(found, lists["categories"], "category")
    _check_categories(found, lists["categories"])
    images = _index(found, lists["images"], "image")
    _check_images(found, lists["images"])
    _index(found, lists["annotations"], "annotation")
    _check_annotations(found, lists["annotations"], images, labels)
    return found


def _index(found: CocoFile, entries: list, kind: str) -> dict:
    """id -> position in the list."""
    index: dict = {}
    for position, entry in enumerate(entries):
        try:
            key = entry["id"]
            if key in index:
                found.add("id twice", f"{kind} {key!r}")
            index[key] = position
        except (TypeError, KeyError):
            found.add("no id", f"{kind} at position {position}")
    return index


def _check_categories(found: CocoFile, entries: list) -> None:
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or name in found.categories:
            found.add("category", f"{name!r}")
        found.categories.append(str(name))


def _check_images(found: CocoFile, entries: list) -> None:
    sizes, seen = [], set()
    for entry in entries:
        entry = entry if isinstance(entry, dict) else {}
        name, width, height = (entry.get(key) for key in ("file_name", "width", "height"))
        if not isinstance(name, str) or width is None or height is None:
            found.add("image", f"image {entry.get('id')!r}")
        elif not _is_size(width, height):
            found.add("image size", f"'{name}' of {width} x {height}")
        elif name in seen:
            found.add("file twice", f"'{name}'")
        sizes.append((width, height) if _is_size(width, height) else (0, 0))
        found.files.append(name := str(name))
        seen.add(name)
    found.sizes = np.array(sizes, np.float64).reshape(-1, 2)


def _is_size(width: Any, height: Any) -> bool:
    if not {type(width), type(height)} <= NUMBERS:
        return False
    return width >= 1 and height >= 1 and width * height <= MAX_PIXELS


def _check_annotations(found: CocoFile, entries: list, images: dict, labels: dict) -> None:
    sound, judged, xyxy, sizes = [], 0, 0, found.sizes.tolist()
    for entry in entries:
        try:
            image, label = images.get(entry["image_id"]), labels.get(entry["category_id"])
            fault = "no image" if image is None else "no category" if label is None else None
            if image is not None and label is not None:
                sound.append((image, label))
                size = sizes[image]
                if not size[0]:
                    continue  # the image's size is counted as a fault already
                fault = _box_fault(entry.get("bbox"), *size) or _area_fault(entry.get("area"))
                if fault in (None, "beyond", "outside"):
                    judged += 1
                    xyxy += _fits_as_xyxy(entry["bbox"], *size)
                mask = _segmentation_fault(entry.get("segmentation"), *size)
                if mask:
                    found.add(mask, _place(entry, found, image))
            if fault:
                found.add(fault, _place(entry, found, image))
            if entry.get("iscrowd", 0) not in (0, 1):
                found.add("crowd", _place(entry, found, image))
            if "iscrowd" not in entry:
                found.add("no crowd", _place(entry, found, image))
            if entry.get("id") == 0:
                found.add("id 0", _place(entry, found, image))
        except (TypeError, KeyError, AttributeError, OverflowError) as error:
            found.add("form", f"{str(entry)[:80]}: {type(error).__name__} {error}")
    found.images, found.labels = np.array(sound, np.int64).reshape(-1, 2).T
    _judge_boxes(found, judged, xyxy)


def _place(entry: dict, found: CocoFile, image: int | None) -> str:
    where = f"image {entry['image_id']!r}" if image is None else f"'{found.files[image]}'"
    return f"annotation {entry.get('id')!r} of {where}"


def _box_fault(box: Any, width: float, height: float) -> str | None:
    if type(box) is not list or len(box) != 4 or not set(map(type, box)) <= NUMBERS:
        return "box"
    x, y, w, h = box
    if not isfinite(x + y + w + h):
        return "box"
    if w < 0 or h < 0:
        return "negative"
    if w < 1 or h < 1:  # mmdet/datasets/coco.py:parse_data_info
        return "empty"
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        return "outside"
    if x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1:
        return "beyond"
    return None


def _area_fault(area: Any) -> str | None:
    if type(area) not in NUMBERS or not isfinite(area):
        return "area"
    return None if area > 0 else "empty"


def _fits_as_xyxy(box: list, width: float, height: float) -> bool:
    return box[0] <= box[2] <= width + 1 and box[1] <= box[3] <= height + 1


def _judge_boxes(found: CocoFile, judged: int, xyxy: int) -> None:
    """Many boxes beyond their images are [x1, y1, x2, y2], a few are drawn carelessly.

    All boxes of a file in xyxy fit into the image as such; of a file in xywh, nearly none do.
    """
    beyond = found.count("beyond")
    if beyond and (beyond > 0.5 * judged or (beyond > 0.1 * judged and xyxy == judged)):
        found.rename("beyond", "xyxy")


def _segmentation_fault(segmentation: Any, width: float, height: float) -> str | None:
    if not segmentation:
        return "no mask"
    if type(segmentation) is dict:
        return _rle_fault(segmentation, width, height)
    if type(segmentation) is not list:
        return "polygon"
    try:
        return _polygons_fault(segmentation, max(width, height))
    except TypeError:  # of len, sum, min and max, for what is no list of numbers
        return "polygon"


def _polygons_fault(polygons: list, side: float) -> str | None:
    short = 0
    for polygon in polygons:
        if type(polygon) is not list:
            return "polygon"
        if len(polygon) % 2:
            return "odd"
        if len(polygon) < 6:
            short += 1
        elif not isfinite(sum(polygon)):
            return "polygon"
        elif min(polygon) < -side or max(polygon) > 2 * side:
            return "far"
    if short == len(polygons):
        return "short"
    return "short part" if short else None


def _rle_fault(rle: dict, width: float, height: float) -> str | None:
    if rle.get("size") != [height, width]:
        return "rle size"
    counts = rle.get("counts")
    runs = counts if isinstance(counts, list) else _runs(counts) if isinstance(counts, str) else [-1]
    if not all(type(run) is int and run >= 0 for run in runs) or sum(runs) != width * height:
        return "rle"
    return None


def _runs(counts: str) -> list[int]:
    """Lengths of a compressed RLE, as rleFrString of pycocotools' maskApi.c; [-1] if broken."""
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        code = ord(character) - 48
        if not 0 <= code < 64:
            return [-1]
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:  # more digits follow
            continue
        if code & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return [-1] if shift else runs
