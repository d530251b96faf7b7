"""Checks of the data sets for semantic segmentation that a config reads."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmengine import Config
from mmengine.logging import print_log
from mmengine.registry import DefaultScope

from mmmim.data.config_datasets import class_of, datasets_of, evenly, is_of_type
from mmmim.data.labelled_transforms import LoadLabelledImage, LoadLabelMap
from mmmim.data.unlabelled import EXTENSIONS, walk
from mmmim.registry import DATASETS


def set_label_range(cfg: Config, loaders: Sequence[str]) -> None:
    """`LoadLabelMap` of the `loaders` takes the range of labels from the decode head."""
    for loader in loaders:
        for dataset in datasets_of(cfg, loader):
            for step in dataset.get("pipeline", ()):
                if is_of_type(step, "LoadLabelMap"):
                    for key, value in _label_range(cfg).items():
                        step.setdefault(key, value)


def _label_range(cfg: Config) -> dict[str, int]:
    head = cfg.model.get("decode_head") or {}
    head = head[-1] if isinstance(head, (list, tuple)) else head
    if "num_classes" not in head:
        return {}
    # A head of one class with a sigmoid tells 1 from 0.
    return dict(num_classes=max(2, head["num_classes"]), ignore_index=head.get("ignore_index", 255))


def check_label_maps(cfg: Config, loaders: Sequence[str]) -> None:
    """Check that images and label maps are pairs, and read up to 50 pairs of each data set.

    Raises:
        FileNotFoundError: a folder, an image or a label map is missing.
        ValueError: no pixel of the label maps that were read has a class.
        OSError: an image or label map cannot be trained on, see `LoadLabelMap`.
    """
    # mmseg.datasets is imported by looking a data set up: only where a config has one.
    for loader in loaders:
        for dataset in datasets_of(cfg, loader):
            # Of mmseg's BaseSegDataset; other data sets may pair images and label maps differently.
            load = getattr(class_of(dataset, cfg), "load_data_list", None)
            if getattr(load, "__qualname__", "") == "BaseSegDataset.load_data_list":
                _check(cfg, dataset, loader)


def _check(cfg: Config, dataset: dict, loader: str) -> None:
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
        built = DATASETS.build(dict(dataset, pipeline=[], lazy_init=True))
    prefix = built.data_prefix
    if loader == "test_dataloader" and not prefix.get("seg_map_path"):
        return  # predictions without evaluation
    for key, suffix in (("img_path", "img_suffix"), ("seg_map_path", "seg_map_suffix")):
        if prefix.get(key) is None:
            raise ValueError(f"data_prefix of {built.data_root!r} must have the folder '{key}'")
        _check_suffix(Path(prefix[key]), key, getattr(built, suffix), suffix)
    built.full_init()
    samples = [built.get_data_info(index) for index in range(len(built))]
    _check_pairs(samples, Path(prefix["seg_map_path"]), built.seg_map_suffix, bool(built.ann_file))
    if any(map(_loads_labels, dataset.get("pipeline", ()))):
        _check_values(evenly(samples), LoadLabelMap(**_label_range(cfg)))


def _loads_labels(step: dict) -> bool:
    return is_of_type(step, "LoadLabelMap") or is_of_type(step, "LoadAnnotations")


def _check_suffix(folder: Path, key: str, suffix: str, option: str) -> None:
    """
    Raises:
        FileNotFoundError: the folder does not exist, or no file has the suffix.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"folder '{folder}' not found: set data_prefix.{key} of the data set")
    names = _files_below(folder)
    others = Counter(
        Path(name).suffix
        for name in names
        if not name.endswith(suffix) and Path(name).suffix.lower() in EXTENSIONS
    )
    found = ", ".join(f"{count} {kind}" for kind, count in others.most_common()) or "no image"
    if not any(name.endswith(suffix) for name in names):
        raise FileNotFoundError(
            f"'{folder}' holds no file that ends in '{suffix}', but {found}: set {option} of the data "
            "set to what the names end in"
        )
    if others:
        print_log(
            f"'{folder}': left out files that do not end in {option}='{suffix}': {found}",
            logger="current",
            level=logging.WARNING,
        )


def _check_pairs(samples: list[dict], folder: Path, suffix: str, listed: bool) -> None:
    """
    Args:
        samples: each has `img_path` and `seg_map_path`.
        folder: of the label maps.
        suffix: of the label maps.
        listed: a list names the samples, so that other label maps may lie beside theirs.

    Raises:
        FileNotFoundError: an image or a label map lacks the other.
    """
    present = {str(folder / name) for name in _files_below(folder) if name.endswith(suffix)}
    expected = {str(Path(sample["seg_map_path"])): sample["img_path"] for sample in samples}
    lonely = [image for label_map, image in expected.items() if label_map not in present]
    if lonely:
        raise FileNotFoundError(
            f"{len(lonely)} of {len(samples)} images have no label map in '{folder}': "
            f"{_first(lonely)}. Add the label maps, NAME{suffix} for each image, or remove the images"
        )
    lonely = [] if listed else sorted(present - expected.keys())
    if lonely:
        raise FileNotFoundError(
            f"{len(lonely)} of {len(present)} label maps have no image: {_first(lonely)}. Add the "
            "images, set img_suffix of the data set, or remove the label maps"
        )


def _check_values(samples: list[dict], load: LoadLabelMap) -> None:
    """
    Raises:
        OSError: see `LoadLabelMap`.
        ValueError: no pixel has a class.
    """
    image = LoadLabelledImage()
    maps = [load(image(sample))["gt_seg_map"] for sample in samples]
    if not any((labels != load.ignore_index).any() for labels in maps):
        raise ValueError(
            f"no pixel of the {len(samples)} label maps that were read has a class, all are ignored: "
            f"'{samples[0]['seg_map_path']}', ... Classes are counted from 0, with "
            "reduce_zero_label=True from 1; 255 is ignored"
        )


def _files_below(folder: Path) -> list[str]:
    """Relative paths of all files but hidden ones."""
    return [
        os.path.join(parent, name)
        for parent, files in walk(folder)
        for name in files
        if not name.startswith(".")
    ]


def _first(paths: list[str]) -> str:
    return ", ".join(f"'{path}'" for path in paths[:3]) + (", ..." if len(paths) > 3 else "")
