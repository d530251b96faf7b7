"""The data sets that a config reads."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mmengine import Config

from mmmim.registry import DATASETS


def datasets_of(cfg: Config, loader: str) -> list[dict]:
    """The innermost data sets of a `loader`, without RepeatDataset and other wrappers."""
    return list(_unwrapped((cfg.get(loader) or {}).get("dataset") or {}))


def _unwrapped(dataset: dict) -> Iterator[dict]:
    parts = dataset.get("datasets") or ([dataset["dataset"]] if "dataset" in dataset else [])
    if not parts and dataset:
        yield dataset
    for part in parts:
        yield from _unwrapped(part)


def is_of_type(config: dict, name: str) -> bool:
    """Whether the type of a data set or transform is `name`, with or without a scope."""
    return str(config.get("type")).rpartition(".")[2] == name


def below_root(dataset: dict, path: str) -> Path:
    """`path` below the data root, as mmengine's BaseDataset joins them."""
    return Path(dataset.get("data_root") or "") / path


def image_folder(dataset: dict, key: str) -> Path:
    """The folder of `data_prefix[key]`."""
    return below_root(dataset, (dataset.get("data_prefix") or {}).get(key) or "")


def class_of(dataset: dict, cfg: Config) -> Any:
    """The class of a data set; None if it is not registered."""
    kind = dataset.get("type")
    if not isinstance(kind, str):
        return kind
    return DATASETS.get(kind if "." in kind else f"{cfg.get('default_scope') or 'mmmim'}.{kind}")


def classes_of(dataset: dict, cfg: Config) -> list[str] | None:
    """Names of the classes: those of the config, else those of the data set's class; None if unknown.

    Raises:
        ValueError: one name instead of a list, of which mmengine would take each letter as a class.
    """
    classes = (dataset.get("metainfo") or {}).get("classes")
    if isinstance(classes, str):
        if not Path(classes).is_file():
            raise ValueError(
                f"metainfo.classes must be a list of names, got '{classes}': write ('{classes}',), "
                "with the comma, for one class"
            )
        classes = Path(classes).read_text().splitlines()
    if classes is None:
        classes = getattr(class_of(dataset, cfg), "METAINFO", {}).get("classes")
    return None if classes is None else list(classes)


def evenly(items: Iterable, limit: int = 50) -> list:
    """At most `limit` evenly spaced items."""
    items = list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, min(limit, len(items))).astype(int)]
