"""Checks of a config's data before anything is built: folders exist, classes fit.

`check_coco` and `check_label_maps` check what the folders hold.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmengine import Config

from mmmim.data.check_coco import coco_file
from mmmim.data.config_datasets import below_root, classes_of, datasets_of, is_of_type
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
    for dataset in (dataset for loader in loaders for dataset in datasets_of(cfg, loader)):
        root = dataset.get("data_root")
        if root and not Path(root).expanduser().is_dir():
            missing[root] = str(dataset["type"]).rpartition(".")[2]
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
            that differs from a head's; in COCO's layout, classes that the annotation file lacks or
            orders differently.
    """
    datasets = [dataset for loader in loaders for dataset in datasets_of(cfg, loader)]
    for dataset in datasets:
        _check_categories(dataset, cfg)
        _check_heads(dataset, cfg)
    found = {folder: list_classes(folder) for folder in filter(None, map(_class_folder, datasets))}
    expected = (cfg.model.get("head") or {}).get("num_classes")
    for folder, classes in found.items():
        first = next(iter(found))
        check_same_classes(first, found[first], folder, classes)
        if expected is not None and len(classes) != expected:
            raise ValueError(
                f"'{folder}' has {len(classes)} classes, but the head has {expected}: set "
                f"--cfg-options model.head.num_classes={len(classes)}"
            )


def _check_categories(dataset: dict, cfg: Config) -> None:
    """mmdet drops classes that the file lacks, and names classes in the order of the file."""
    file = below_root(dataset, dataset.get("ann_file") or "")
    if not is_of_type(dataset, "CocoDataset") or not file.is_file():
        return
    found, classes = coco_file(dataset), classes_of(dataset, cfg) or []
    if "categories" in found.missing:
        return  # check_annotations says so
    names = found.categories
    if not (dataset.get("metainfo") or {}).get("classes"):
        _check_default_classes(file, names, classes)
    elif [name for name in names if name in classes] != classes:
        raise ValueError(
            f"metainfo.classes={tuple(classes)} must be categories of '{file}', all or some, in the "
            f"order of the file: {tuple(names)}. Not in the file: "
            f"{', '.join(sorted({*classes} - {*names})) or 'none, only the order differs'}"
        )


def _check_default_classes(file: Path, names: list[str], classes: list[str]) -> None:
    """
    Raises:
        ValueError: the file has categories beside the 80 of COCO, which would be dropped.
    """
    others = [name for name in names if name not in classes]
    if others:
        raise ValueError(
            f"'{file}' has categories that are no classes of COCO: {tuple(others)}. Set "
            f"metainfo=dict(classes={tuple(names)}) of each data set, and num_classes of the heads"
        )


def _check_heads(dataset: dict, cfg: Config) -> None:
    """
    Raises:
        ValueError: a head of a detector or segmenter has another number of classes than the data set;
            a softmax over one class.
    """
    heads = dict(_heads(cfg.model))
    classes = classes_of(dataset, cfg) if heads else None
    for name, head in heads.items():
        expected, count = head.get("num_classes"), len(classes or ())
        if classes and expected not in (None, count) and not head.get("class_agnostic"):
            raise ValueError(
                f"the data set below '{dataset.get('data_root')}' has {count} classes "
                f"({', '.join(classes[:3])}, ...), but model.{name} has {expected}: set "
                f"--cfg-options model.{name}.num_classes={count}, or metainfo.classes of the data set"
            )
        loss = head.get("loss_decode") or {}
        if expected == 1 and "decode_head" in name and not _has_sigmoid(loss):
            raise ValueError(
                f"model.{name} has 1 class, over which the softmax is always 1 and nothing is learned: "
                "add a background class (num_classes=2), whose pixels are labeled too"
            )


def _heads(model: dict) -> Iterator[tuple[str, dict]]:
    """(name, config) of the heads that predict the classes of a detector or segmenter."""
    roi = model.get("roi_head") or {}
    parts = {f"roi_head.{key}": roi.get(key) for key in ("bbox_head", "mask_head")}
    parts |= {
        key: model.get(key) for key in ("bbox_head", "mask_head", "decode_head", "auxiliary_head")
    }
    for name, part in parts.items():
        if isinstance(part, (list, tuple)):
            yield from ((f"{name}.{i}", head) for i, head in enumerate(part))
        elif part:
            yield name, part


def _has_sigmoid(losses: dict | list) -> bool:
    losses = losses if isinstance(losses, (list, tuple)) else [losses]
    return any(loss.get("use_sigmoid") for loss in losses)


def _class_folder(dataset: dict) -> Path | None:
    """The folder whose subfolders are the classes of mmpretrain's CustomDataset; None otherwise."""
    if not is_of_type(dataset, "CustomDataset") or dataset.get("ann_file"):
        return None
    if not dataset.get("with_label", True):
        return None
    prefix = dataset.get("data_prefix", "")
    prefix = prefix if isinstance(prefix, str) else prefix["img_path"]
    return Path(dataset.get("data_root") or "") / prefix


def _cure(root: str) -> str:
    """What to do about a missing data root."""
    for variable, default in DEFAULTS.items():
        if root.startswith(os.environ.get(variable) or default):
            cure = f"link the data set there, or set {variable}=/path/to/it"
            drawn = ", or draw it: mmmim make-scenes data/scenes"
            return cure + drawn if variable == "SCENES" else cure
    return "set data_root of the dataset in the config, or with --cfg-options"
