"""Folders of labelled photos: SPLIT/CLASS/*.jpg."""

import json
from collections.abc import Sequence
from pathlib import Path

from mmengine import Config

from mmmim.data.roots import dataset_of
from mmmim.data.unlabelled import list_images


def list_classes(folder: Path) -> list[str]:
    """Names of the class folders in a split's folder, sorted: a class's place is its label.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: fewer than two classes.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder '{folder}': labelled photos lie in train/CLASS/*.jpg and val/CLASS/*.jpg"
        )
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir())
    if len(classes) < 2:
        raise ValueError(
            f"'{folder}' has the classes {classes}; there must be two folders of photos in it at least"
        )
    return classes


def list_labelled(root: Path) -> dict[str, list[tuple[Path, int]]]:
    """Files and labels of the splits `train` and `val`.

    Raises:
        FileNotFoundError: a split is missing.
        ValueError: fewer than two classes, or not the same in both splits.
    """
    classes = {split: list_classes(root / split) for split in ("train", "val")}
    _check_same(root / "train", classes["train"], root / "val", classes["val"])
    return {
        split: [
            (file, label)
            for label, name in enumerate(names)
            for file in _images_of(root / split / name)
        ]
        for split, names in classes.items()
    }


def _images_of(folder: Path) -> list[Path]:
    try:
        return list_images(folder)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"the class folder '{folder}' holds no image") from error


def check_classes(cfg: Config, loaders: Sequence[str]) -> None:
    """Look at the folders of classes that a config's `loaders` will read, before anything is built.

    Raises:
        FileNotFoundError: a split is missing.
        ValueError: fewer than two classes, other ones in another split, or not as many as the head's.
            Of COCO's layout, classes that its file has not, or has in another order.
    """
    for name in loaders:
        _check_categories(dataset_of(cfg, name))
    folders = filter(
        None, (_class_folder((cfg.get(name) or {}).get("dataset", {})) for name in loaders)
    )
    found = {folder: list_classes(folder) for folder in folders}
    expected = (cfg.model.get("head") or {}).get("num_classes")
    for folder, classes in found.items():
        first = next(iter(found))
        _check_same(first, found[first], folder, classes)
        if expected is not None and len(classes) != expected:
            raise ValueError(
                f"'{folder}' has {len(classes)} classes, the head {expected}: set "
                f"--cfg-options model.head.num_classes={len(classes)}"
            )


def _check_categories(dataset: dict) -> None:
    """mmdet leaves out a class that the file has not, and names classes in the file's order."""
    classes = dataset.get("metainfo", {}).get("classes")
    file = Path(dataset.get("data_root", "")) / dataset.get("ann_file", "")
    if not str(dataset.get("type")).endswith("CocoDataset") or not classes or not file.is_file():
        return
    names = [category["name"] for category in json.loads(file.read_bytes())["categories"]]
    if [name for name in names if name in classes] != list(classes):
        raise ValueError(
            f"metainfo.classes={tuple(classes)} must be among the categories of '{file}', in their "
            f"order: {tuple(names)}"
        )


def _class_folder(dataset: dict) -> Path | None:
    """Whose subfolders mmpretrain's CustomDataset takes as classes; None of any other data set."""
    if not str(dataset.get("type")).endswith("CustomDataset") or dataset.get("ann_file"):
        return None
    if not dataset.get("with_label", True):
        return None
    prefix = dataset.get("data_prefix", "")
    prefix = prefix if isinstance(prefix, str) else prefix["img_path"]
    return Path(dataset.get("data_root", "")) / prefix


def _check_same(first: Path, names: list[str], second: Path, others: list[str]) -> None:
    if names != others:
        alone = sorted(set(names) ^ set(others))
        raise ValueError(f"'{first}' and '{second}' must have the same classes; only one has {alone}")
