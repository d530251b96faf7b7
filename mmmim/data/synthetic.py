"""The synthetic data set: drawn scenes with exact boxes, masks and semantic maps.

A scene shows overlapping textured objects of six shapes and three classes, at varied scales, on a
textured background. Only the shape tells the class: colors and textures of objects and background
come from one distribution, so a model has to learn outlines, of which a few labels teach it little.

`make_scenes` writes, below one folder:

    unlabelled/*.jpg                                        every training image, no labels
    coco/{train2017,val2017}/*.jpg                          the labelled images, COCO's layout
    coco/annotations/instances_{train,val}2017.json
    ade/{images,annotations}/{training,validation}/         the same images, ADE20K's layout
"""

import json
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("round", "angular", "spiky")
# Shape -> index of its class.
SHAPES = {"disc": 0, "square": 1, "triangle": 1, "star": 2, "ring": 0, "cross": 2}
# In ADE20K's annotation PNGs 0 is unlabelled, so classes start at 1.
SEMANTIC_CLASSES = ("background", *CLASSES)


@dataclass(frozen=True)
class ScenesSpec:
    """Size and seed of a synthetic data set. Equal specs give equal files, byte for byte.

    Attributes:
        size: side of an image in pixels.
        unlabelled: number of images without labels; the labelled training images are added to them.
        labelled: number of labelled training images.
        validation: number of labelled validation images.
        seed: seed of all draws.
    """

    size: int = 96
    unlabelled: int = 4000
    labelled: int = 64
    validation: int = 200
    seed: int = 0


@dataclass(frozen=True)
class Scene:
    """One drawn image.

    Attributes:
        image: (size, size, 3) uint8.
        masks: visible part of each object, (size, size) bool, back to front.
        labels: index of each object's class in CLASSES.
    """

    image: np.ndarray
    masks: list[np.ndarray]
    labels: list[int]

    def semantic(self) -> np.ndarray:
        """(size, size) uint8 indices into SEMANTIC_CLASSES, plus 1: ADE20K's convention."""
        semantic = np.ones(self.image.shape[:2], np.uint8)
        for mask, label in zip(self.masks, self.labels, strict=True):
            semantic[mask] = label + 2
        return semantic


def draw_scene(rng: np.random.Generator, size: int) -> Scene:
    """Draw a scene, `size` pixels wide, of 2 to 5 objects, each 20 % to 60 % of the side wide."""
    image = _texture(rng, size)
    covers: list[np.ndarray] = []
    labels: list[int] = []
    for _ in range(rng.integers(2, 6)):
        name = list(SHAPES)[rng.integers(len(SHAPES))]
        cover = _shape(rng, name, size)
        image = np.where(cover[..., None], _texture(rng, size), image)
        # Each object occludes those drawn before.
        covers = [behind & ~cover for behind in covers] + [cover]
        labels.append(SHAPES[name])
    image = image + rng.normal(0, 4, image.shape)  # sensor noise
    # Drop objects of which less than a tenth of the smallest object's bounding box is visible.
    visible = [i for i, cover in enumerate(covers) if cover.sum() >= 0.1 * (0.2 * size) ** 2]
    return Scene(
        image.clip(0, 255).astype(np.uint8),
        [covers[i] for i in visible],
        [labels[i] for i in visible],
    )


def make_scenes(root: Path, spec: ScenesSpec, processes: int = 2) -> Path:
    """Write the data set below `root` if it is missing -> `root`. An interrupted one is redrawn.

    Args:
        root: the folder of the data set.
        spec: size and seed.
        processes: number of worker processes.

    Raises:
        FileExistsError: `root` holds scenes of another spec.
    """
    root = Path(root)
    done = root / "spec.json"
    wanted = json.dumps(asdict(spec), indent=2)
    if done.is_file():
        if done.read_text() != wanted:
            raise FileExistsError(
                f"'{root}' holds scenes of another spec:\n{done.read_text()}\nrequested:\n{wanted}\n"
                "Choose another folder, or delete this one"
            )
        return root
    partial_root = root.with_name(root.name + ".partial")
    shutil.rmtree(partial_root, ignore_errors=True)
    with ProcessPoolExecutor(processes) as pool:
        _write_unlabelled(partial_root, spec, pool)
        _write_labelled(partial_root, "train", spec.labelled, spec, pool)
        _write_labelled(partial_root, "val", spec.validation, spec, pool)
    (partial_root / "spec.json").write_text(wanted)
    partial_root.rename(root)
    return root


def _write_unlabelled(root: Path, spec: ScenesSpec, pool: ProcessPoolExecutor) -> None:
    folder = root / "unlabelled"
    folder.mkdir(parents=True)
    write = partial(_write_image, folder=folder, seed=spec.seed, split="unlabelled", size=spec.size)
    list(pool.map(write, range(spec.unlabelled), chunksize=64))


def _write_image(index: int, folder: Path, seed: int, split: str, size: int) -> Scene:
    scene = draw_scene(_generator(seed, split, index), size)
    Image.fromarray(scene.image).save(folder / f"{split}_{index:06d}.jpg", quality=95)
    return scene


def _write_labelled(
    root: Path, split: str, count: int, spec: ScenesSpec, pool: ProcessPoolExecutor
) -> None:
    coco, ade = root / "coco", root / "ade"
    long_name = {"train": "training", "val": "validation"}[split]
    images = coco / f"{split}2017"
    folders = [images, ade / "images" / long_name, ade / "annotations" / long_name]
    for folder in [*folders, coco / "annotations"]:
        folder.mkdir(parents=True, exist_ok=True)

    write = partial(_write_image, folder=images, seed=spec.seed, split=split, size=spec.size)
    scenes = list(pool.map(write, range(count), chunksize=16))
    for index, scene in enumerate(scenes):
        name = f"{split}_{index:06d}"
        shutil.copy(images / f"{name}.jpg", ade / "images" / long_name)
        if split == "train":  # pretraining sees the images of the labelled data too
            shutil.copy(images / f"{name}.jpg", root / "unlabelled")
        Image.fromarray(scene.semantic()).save(folders[2] / f"{name}.png")
    annotations = json.dumps(_coco_annotations(scenes, split, spec.size))
    (coco / "annotations" / f"instances_{split}2017.json").write_text(annotations)


def _coco_annotations(scenes: list[Scene], split: str, size: int) -> dict:
    from pycocotools import mask as rle_codec

    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, scene in enumerate(scenes, start=1):
        name = f"{split}_{image_id - 1:06d}.jpg"
        images.append(dict(id=image_id, file_name=name, width=size, height=size))
        for mask, label in zip(scene.masks, scene.labels, strict=True):
            rle = rle_codec.encode(np.asfortranarray(mask.astype(np.uint8)))
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=label + 1,
                    bbox=rle_codec.toBbox(rle).tolist(),
                    area=int(mask.sum()),
                    iscrowd=0,
                    segmentation=dict(size=rle["size"], counts=rle["counts"].decode("ascii")),
                )
            )
    categories = [dict(id=i, name=name) for i, name in enumerate(CLASSES, start=1)]
    return dict(images=images, annotations=annotations, categories=categories)


def _generator(seed: int, split: str, index: int) -> np.random.Generator:
    """A generator of its own for each image, so that processes can draw in any order."""
    return np.random.default_rng([seed, ("unlabelled", "train", "val").index(split), index])


def _texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3) float in 0..255: stripes, checks, dots or clouds of two colors."""
    y, x = _pixel_grid(size)
    angle, period = rng.uniform(0, np.pi), rng.uniform(0.05, 0.2) * size
    u = (x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period + rng.uniform(0, 2 * np.pi)
    v = (y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / period + rng.uniform(0, 2 * np.pi)
    kind = rng.integers(4)
    if kind == 0:
        blend = 0.5 + 0.5 * np.sin(u)
    elif kind == 1:
        blend = (np.sin(u) * np.sin(v) > 0).astype(float)
    elif kind == 2:
        blend = (np.sin(u) + np.sin(v) > 0.8).astype(float)
    else:
        coarse = Image.fromarray(rng.uniform(0, 1, (7, 7)).astype(np.float32))
        blend = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))
    first, second = rng.uniform(20, 235, (2, 3))
    contrast = rng.uniform(0.3, 1.0)
    return first + contrast * blend[..., None] * (second - first)


def _shape(rng: np.random.Generator, name: str, size: int) -> np.ndarray:
    """(size, size) bool of a shape at a random place, scale and rotation."""
    radius = rng.uniform(0.2, 0.6) * size / 2
    center = rng.uniform(0.5 * radius, size - 0.5 * radius, 2)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = _pixel_grid(size)
    x, y = (x - center[0]) / radius, (y - center[1]) / radius
    x, y = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    distance, direction = np.hypot(x, y), np.arctan2(y, x)
    if name == "disc":
        return distance <= 0.9
    if name == "ring":
        return (distance <= 1) & (distance >= 0.5)
    if name == "square":
        return (np.abs(x) <= 0.8) & (np.abs(y) <= 0.8)
    if name == "cross":
        return (np.maximum(np.abs(x), np.abs(y)) <= 1) & (np.minimum(np.abs(x), np.abs(y)) <= 0.3)
    if name == "triangle":  # three half-planes at distance 0.55 from the center
        sector = np.mod(direction, 2 * np.pi / 3) - np.pi / 3
        return distance * np.cos(sector) <= 0.55
    # A star: the radius falls from 1.1 at the tips to 0.4 halfway between them.
    to_tip = np.abs(np.mod(direction, 2 * np.pi / 5) - np.pi / 5) / (np.pi / 5)
    return distance <= 0.4 + 0.7 * to_tip**2


def _pixel_grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """y and x of the pixel centers, each (size, size)."""
    y, x = np.mgrid[0:size, 0:size]
    return y + 0.5, x + 0.5
