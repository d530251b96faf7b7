"""Checks of the data sets in COCO's layout that a config reads."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine import Config
from mmengine.logging import print_log

from mmmim.data.coco_file import CocoFile, read_coco
from mmmim.data.config_datasets import (
    below_root,
    classes_of,
    datasets_of,
    evenly,
    image_folder,
    is_of_type,
)
from mmmim.data.labelled_transforms import LoadLabelledImage


def check_annotations(cfg: Config, loaders: Sequence[str]) -> None:
    """Check the annotation files of COCO's layout that the `loaders` will read; log what is left out.

    Raises:
        FileNotFoundError: an annotation file or an image is missing.
        OSError: one of up to 50 images cannot be read, or has another size than its annotations say.
        ValueError: an annotation file would train wrongly, or crash a library; all its faults are
            listed, with the first annotations of each.
    """
    for loader in loaders:
        for dataset in datasets_of(cfg, loader):
            if is_of_type(dataset, "CocoDataset") and "://" not in str(dataset.get("ann_file")):
                _check(dataset, classes_of(dataset, cfg), loader)
        _check_evaluator(cfg, loader)


def coco_file(dataset: dict) -> CocoFile:
    """The annotation file of a CocoDataset; see `read_coco`."""
    return read_coco(below_root(dataset, dataset.get("ann_file") or ""))


def _check(dataset: dict, classes: list[str] | None, loader: str) -> None:
    found = coco_file(dataset)
    # The test images of COCO have no public annotations.
    missing = [name for name in found.missing if (name, loader) != ("annotations", "test_dataloader")]
    if missing:
        raise ValueError(
            f"'{found.path}' has no list of {', '.join(missing)}: expected COCO's layout, with images, "
            "annotations and categories. Set ann_file to such a file, or export it again"
        )
    uses = {"masks"} if _reads_masks(dataset) else set()
    uses |= {"evaluation"} if loader == "val_dataloader" else set()
    if errors := found.lines(warning=False, uses=uses):
        raise ValueError("\n".join(errors))
    for line in found.lines(warning=True, uses=uses):
        print_log(line, logger="current", level=logging.WARNING)
    _check_left(found, dataset, classes, loader)
    _check_images(found, dataset)


def _reads_masks(dataset: dict) -> bool:
    steps = dataset.get("pipeline", ())
    return any(is_of_type(step, "LoadAnnotations") and step.get("with_mask") for step in steps)


def _check_left(found: CocoFile, dataset: dict, classes: list[str] | None, loader: str) -> None:
    """
    Raises:
        ValueError: no image, or no annotation of the classes, is left to read.
    """
    chosen = [i for i, name in enumerate(found.categories) if classes is None or name in classes]
    images = np.unique(found.images[np.isin(found.labels, chosen)])
    annotated = np.zeros(len(found.files), bool)
    annotated[images] = True
    filters = {} if dataset.get("test_mode") else dataset.get("filter_cfg") or {}
    large = found.sizes.min(1) >= filters.get("min_size", 0)
    used = annotated | (not filters.get("filter_empty_gt", False))
    left = large & used
    parts = f"{len(left)} images: {(~annotated).sum()} without an annotation of the classes, "
    parts += f"{(~large).sum()} smaller than min_size {filters.get('min_size', 0)}"
    if not left.any() or not (annotated.any() or loader == "test_dataloader"):
        raise ValueError(
            f"'{found.path}' leaves no image with annotations to read, of {parts}. Set "
            "metainfo.classes, filter_cfg or ann_file of the data set"
        )
    if not left.all():
        print_log(f"'{found.path}': {(~left).sum()} of {parts} are left out", logger="current")


def _check_images(found: CocoFile, dataset: dict) -> None:
    """Read up to 50 images.

    Raises:
        FileNotFoundError: some of them do not exist.
        OSError: see `LoadLabelledImage`.
    """
    folder = image_folder(dataset, "img")
    missing = [name for name in evenly(found.files) if not (folder / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"'{found.path}' names images that '{folder}' does not hold: {', '.join(missing[:3])} "
            f"({len(missing)} of {len(evenly(found.files))} tried). Set data_prefix.img of the data set"
        )
    load = LoadLabelledImage()
    for index in evenly(range(len(found.files))):
        width, height = found.sizes[index]
        path = str(folder / found.files[index])
        load(dict(img_path=path, width=int(width), height=int(height)))


def _check_evaluator(cfg: Config, loader: str) -> None:
    """
    Raises:
        FileNotFoundError: the evaluation of the loader reads a file that does not exist.
    """
    name = loader.replace("dataloader", "evaluator")
    metrics = cfg.get(name) if cfg.get(loader) and name != loader else None
    for metric in metrics if isinstance(metrics, list) else [metrics or {}]:
        file = metric.get("ann_file") if isinstance(metric, dict) else None
        if file and "://" not in file and not Path(file).is_file():
            raise FileNotFoundError(
                f"{name}.ann_file '{file}' not found: set it to the ann_file of {loader}"
            )
