"""Folders of labelled images: SPLIT/CLASS/*.jpg."""

from pathlib import Path

from mmmim.data.unlabelled import list_images


def list_classes(folder: Path) -> list[str]:
    """Names of the class folders of a split, sorted; the index of a class is its label.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: it holds fewer than two class folders.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder '{folder}': put labeled images into '{folder.parent}/train/CLASS/*.jpg' and "
            f"'{folder.parent}/val/CLASS/*.jpg', or set the data root to the folder that has them"
        )
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir())
    if len(classes) < 2:
        raise ValueError(f"'{folder}' must hold at least two class folders with images, got {classes}")
    return classes


def list_labelled(root: Path) -> dict[str, list[tuple[Path, int]]]:
    """Files and labels of the splits `train` and `val`.

    Raises:
        FileNotFoundError: a split is missing, or a class folder holds no image.
        ValueError: fewer than two classes, or different classes in the splits.
    """
    classes = {split: list_classes(root / split) for split in ("train", "val")}
    check_same_classes(root / "train", classes["train"], root / "val", classes["val"])
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
        raise FileNotFoundError(
            f"the class folder '{folder}' holds no image: add images, or remove the class from all "
            "splits"
        ) from error


def check_same_classes(first: Path, names: list[str], second: Path, others: list[str]) -> None:
    """
    Raises:
        ValueError: two splits have different classes.
    """
    if names != others:
        alone = sorted(set(names) ^ set(others))
        raise ValueError(
            f"'{first}' and '{second}' must have the same classes, but only one of them has {alone}: "
            "add the missing class folders, or remove these"
        )
