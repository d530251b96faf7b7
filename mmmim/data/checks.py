"""Are the data there? Asked before anything is built."""

import os
from collections.abc import Sequence
from pathlib import Path

from mmengine import Config

# Variables that the configs read, and where they look without them.
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
    """Raise one error that names every missing data root of the config's `loaders`.

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


def dataset_of(cfg: Config, loader: str) -> dict:
    """The innermost data set that `loader` reads, without RepeatDataset and the like; {} for none."""
    dataset = (cfg.get(loader) or {}).get("dataset", {})
    while "dataset" in dataset:
        dataset = dataset["dataset"]
    return dataset


def _cure(root: str) -> str:
    for variable, default in DEFAULTS.items():
        if root.startswith(os.environ.get(variable) or default):
            cure = f"link it there, or set {variable}=/path/to/it"
            drawn = ", or draw it: python tools/make_scenes.py data/scenes"
            return cure + drawn if variable == "SCENES" else cure
    return "set its data_root"
