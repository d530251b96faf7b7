"""Class folders, and the errors for those that cannot be trained on."""

import pytest
from mmengine import Config

from mmmim.data.checks import check_classes
from mmmim.data.labelled import list_labelled

LOADERS = ("train_dataloader", "val_dataloader")


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "val"):
        for name in ("coat", "boot", "hat"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "1.jpg").touch()
    return tmp_path


def config(folder, classes=3):
    def loader(split):
        dataset = dict(type="mmpretrain.CustomDataset", data_root=str(folder), with_label=True)
        return dict(dataset=dict(dataset, data_prefix=split))

    return Config(
        dict(
            model=dict(head=dict(num_classes=classes)),
            train_dataloader=loader("train"),
            val_dataloader=loader("val"),
        )
    )


def test_labels_follow_the_order_of_names(folder):
    assert [(f.parent.name, label) for f, label in list_labelled(folder)["val"]] == [
        ("boot", 0),
        ("coat", 1),
        ("hat", 2),
    ]
    check_classes(config(folder), LOADERS)


def test_a_missing_split_is_named(folder):
    (folder / "val").rename(folder / "elsewhere")
    for call in (lambda: list_labelled(folder), lambda: check_classes(config(folder), LOADERS)):
        with pytest.raises(FileNotFoundError, match=r"val'.*val/CLASS"):
            call()


def test_a_folder_with_one_class_is_refused(folder):
    for name in ("coat", "hat"):
        (folder / "train" / name / "1.jpg").unlink()
        (folder / "train" / name).rmdir()
    for call in (lambda: list_labelled(folder), lambda: check_classes(config(folder), LOADERS)):
        with pytest.raises(ValueError, match=r"at least two class folders.*\['boot'\]"):
            call()


def test_labels_cannot_shift_between_splits(folder):
    (folder / "val/boot").rename(folder / "val/sock")
    for call in (lambda: list_labelled(folder), lambda: check_classes(config(folder), LOADERS)):
        with pytest.raises(ValueError, match=r"same classes.*\['boot', 'sock'\]"):
            call()


def test_a_head_of_another_number_of_classes_is_refused(folder):
    with pytest.raises(ValueError, match=r"3 classes, but the head has 10.*num_classes=3"):
        check_classes(config(folder, classes=10), LOADERS)


def test_only_folders_of_classes_that_will_be_read_are_looked_at(folder):
    (folder / "val").rename(folder / "elsewhere")
    check_classes(config(folder), ("train_dataloader",))
    listed = config(folder)
    for loader in LOADERS:
        listed[loader].dataset.ann_file = "labels.txt"
    check_classes(listed, LOADERS)
    implicit = config(folder)
    del implicit.val_dataloader.dataset["with_label"]  # mmpretrain's default is True
    with pytest.raises(FileNotFoundError):
        check_classes(implicit, LOADERS)


def test_an_empty_class_is_named(folder):
    (folder / "val/hat/1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"class folder '.*val/hat' holds no image"):
        list_labelled(folder)


@pytest.mark.parametrize("classes", [("dog", "cat"), ("cat", "bird")], ids=["order", "unknown"])
def test_classes_that_a_coco_file_has_not_so_are_refused(tmp_path, classes):
    (tmp_path / "own.json").write_text(
        '{"categories": [{"name": "cat"}, {"name": "a"}, {"name": "dog"}]}'
    )
    dataset = dict(type="CocoDataset", data_root=str(tmp_path), ann_file="own.json")

    def config(classes):
        repeated = dict(type="RepeatDataset", dataset=dict(dataset, metainfo=dict(classes=classes)))
        return Config(dict(model=dict(), train_dataloader=dict(dataset=repeated)))

    check_classes(config(("cat", "dog")), ("train_dataloader",))
    with pytest.raises(ValueError, match=r"must be categories of .*own\.json.*'cat', 'a', 'dog'"):
        check_classes(config(classes), ("train_dataloader",))
