"""Are the data there? Asked before anything is built."""

from collections.abc import Sequence
from pathlib import Path

from mmengine import Config

# The variable that a data set's config reads; see configs/_base_.
VARIABLES = {
    "CocoDataset": "COCO",
    "ADE20KDataset": "ADE20K",
    "UnlabelledImages": "IMAGENET",
    "ImageNet": "IMAGENET",
}


def check_data_roots(cfg: Config, loaders: Sequence[str]) -> None:
    """Raise one error that names every missing data root of the config's `loaders`.

    Raises:
        FileNotFoundError: a data root does not exist.
    """
    missing = {}
    for loader in loaders:
        dataset = (cfg.get(loader) or {}).get("dataset", {})
        while "dataset" in dataset:  # RepeatDataset and the like
            dataset = dataset["dataset"]
        root = dataset.get("data_root")
        if root and not Path(root).expanduser().is_dir():
            missing[root] = dataset["type"].rpartition(".")[2]
    if missing:
        lines = []
        for root, kind in missing.items():
            variable = VARIABLES.get(kind, "the variable named in the config")
            lines.append(f"  '{root}' ({kind}): link it there, or set {variable}=/path/to/it")
        raise FileNotFoundError("data root not found:\n" + "\n".join(lines))
