"""Checks of a config's data before anything is built: folders exist, classes fit."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from mmengine import Config

from mmmim.data.labelled import check_same_classes, list_classes

# Environment variable that the configs read -> the data root if it is not set.
DEFAULTS = {
    "ADE20K": "data/ade/ADEChallengeData2016",
    "CAMVID": "data/camvid",
    "CLOTHING": "data/clothing",
    "COCO": "data/coco",
    "IMAGENET": "data/imagenet",
    "IMAGES": "data/images",
    "SCENES": "data/scenes",
    "TEACHER_SCENES": "data/teacher_scenes",
}


def check_data_roots(cfg: Config, loaders: Sequence[str]) -> None:
    """Raise one error that names every missing data root of the `loaders`.

    Raises:
        FileNotFoundError: a data root does not exist.
    """
    missing = {}
    for loader in loaders:
        dataset = dataset_of(cfg, loader)
        root = dataset.get("data_root")
        if root and not Path(root).expanduser().is_dir():
            missing[root] = dataset["type"].rpartition(".")[2]
    if missing:
        lines = []
        for root, kind in missing.items():
            lines.append(f"  '{root}' ({kind}): {_cure(root)}")
        raise FileNotFoundError("data root not found:\n" + "\n".join(lines))


def check_classes(cfg: Config, loaders: Sequence[str]) -> None:
    """Check the classes that the `loaders` will read.

    Raises:
        FileNotFoundError: a split is missing.
        ValueError: fewer than two class folders; different classes in two splits; a number of classes
            that differs from the head's; in COCO's layout, classes that the annotation file lacks or
            orders differently.
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
        check_same_classes(first, found[first], folder, classes)
        if expected is not None and len(classes) != expected:
            raise ValueError(
                f"'{folder}' has {len(classes)} classes, but the head has {expected}: set "
                f"--cfg-options model.head.num_classes={len(classes)}"
            )


def _check_categories(dataset: dict) -> None:
    """mmdet drops classes that the file lacks, and names classes in the order of the file."""
    classes = dataset.get("metainfo", {}).get("classes")
    file = Path(dataset.get("data_root", "")) / dataset.get("ann_file", "")
    if not str(dataset.get("type")).endswith("CocoDataset") or not classes or not file.is_file():
        return
    names = [category["name"] for category in json.loads(file.read_bytes())["categories"]]
    if [name for name in names if name in classes] != list(classes):
        raise ValueError(
            f"metainfo.classes={tuple(classes)} must be categories of '{file}', all or some, in the "
            f"order of the file: {tuple(names)}. Not in the file: "
            f"{', '.join(sorted({*classes} - {*names})) or 'none, only the order differs'}"
        )


def _class_folder(dataset: dict) -> Path | None:
    """The folder whose subfolders are the classes of mmpretrain's CustomDataset; None otherwise."""
    if not str(dataset.get("type")).endswith("CustomDataset") or dataset.get("ann_file"):
        return None
    if not dataset.get("with_label", True):
        return None
    prefix = dataset.get("data_prefix", "")
    prefix = prefix if isinstance(prefix, str) else prefix["img_path"]
    return Path(dataset.get("data_root", "")) / prefix


def dataset_of(cfg: Config, loader: str) -> dict:
    """The innermost dataset of a `loader`, without RepeatDataset and other wrappers; {} for none."""
    dataset = (cfg.get(loader) or {}).get("dataset", {})
    while "dataset" in dataset:
        dataset = dataset["dataset"]
    return dataset


def _cure(root: str) -> str:
    """What to do about a missing data root."""
    for variable, default in DEFAULTS.items():
        if root.startswith(os.environ.get(variable) or default):
            cure = f"link the data set there, or set {variable}=/path/to/it"
            drawn = ", or draw it: mmmim make-scenes data/scenes"
            return cure + drawn if variable == "SCENES" else cure
    return "set data_root of the dataset in the config, or with --cfg-options"
