"""Folders for segmentation that would train on nothing, or on shifted labels, are refused."""

from pathlib import Path

import numpy as np
import pytest
from mmengine import Config
from PIL import Image

from mmmim.data.check_label_maps import check_label_maps, set_label_range
from mmmim.data.checks import check_classes

TRAIN = ("train_dataloader",)
IMAGES, LABELS = "images/training", "annotations/training"


@pytest.fixture
def root(tmp_path):
    """Four images; of each label map, a third is 0, 1 and 2."""
    for folder in (IMAGES, LABELS):
        (tmp_path / folder).mkdir(parents=True)
    for i in range(4):
        Image.new("RGB", (30, 20)).save(tmp_path / IMAGES / f"s{i}.jpg")
        labels = np.repeat(np.arange(3, dtype=np.uint8), 10)
        Image.fromarray(np.tile(labels, (20, 1))).save(tmp_path / LABELS / f"s{i}.png")
    return tmp_path


def relabel(root, change) -> None:
    for path in sorted((root / LABELS).iterdir()):
        with Image.open(path) as image:
            labels = np.asarray(image)
        Image.fromarray(change(labels)).save(path)


def config(root, classes=("road", "car"), head=None, **dataset) -> Config:
    base = dict(
        type="BaseSegDataset",
        data_root=f"{root}/",
        metainfo=dict(classes=classes, palette=[[i] * 3 for i in range(len(classes))]),
        img_suffix=".jpg",
        seg_map_suffix=".png",
        reduce_zero_label=True,
        data_prefix=dict(img_path=IMAGES, seg_map_path=LABELS),
        pipeline=[dict(type="mmmim.LoadLabelledImage"), dict(type="mmmim.LoadLabelMap")],
    )
    return Config(
        dict(
            default_scope="mmseg",
            model=dict(type="EncoderDecoder", decode_head=head or dict(num_classes=len(classes))),
            train_dataloader=dict(dataset=dict(base, **dataset)),
        )
    )


def rename(root, folder, old, new) -> None:
    for path in (root / folder).glob(f"*{old}"):
        path.rename(path.with_suffix(new))


def test_sound_folders_pass(root):
    check_label_maps(config(root), TRAIN)
    check_label_maps(config(root, ("sky", "road", "car"), reduce_zero_label=False), TRAIN)
    (root / LABELS / ".hidden.png").touch()  # mmseg skips it
    (root / IMAGES / "nested").mkdir()
    (root / LABELS / "nested").mkdir()
    (root / IMAGES / "s0.jpg").rename(root / IMAGES / "nested/s0.jpg")
    (root / LABELS / "s0.png").rename(root / LABELS / "nested/s0.png")
    check_label_maps(config(root), TRAIN)


MAPS = {
    "above the classes": (lambda a: a * 3, r"s0\.png' has labels.*2 \(200 pixels\), 5 \(200 pixels\)"),
    "of another size": (lambda a: a[::2, ::2], r"s0\.png' has 15 x 10.*s0\.jpg' has 30 x 20"),
    "RGB": (lambda a: np.stack([a] * 3, -1), r"s0\.png'.*mode RGB"),
    "16 bits": (lambda a: a.astype(np.uint16) * 257, r"s0\.png'.*mode I;16"),
    "unlabelled": (lambda a: a * 0, r"no pixel of the 4 label maps.*s0\.png.*255"),
    "255": (lambda a: np.where(a == 1, 255, 0).astype(np.uint8), r"no pixel of the 4 label maps.*255"),
}


@pytest.mark.parametrize("kind", MAPS)
def test_maps_that_would_train_wrongly_are_refused(root, kind):
    change, message = MAPS[kind]
    relabel(root, change)
    with pytest.raises((OSError, ValueError), match=message):
        check_label_maps(config(root), TRAIN)


def test_a_truncated_map_or_image_is_named(root):
    path = root / LABELS / "s2.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    with pytest.raises(OSError, match=r"s2\.png'"):
        check_label_maps(config(root), TRAIN)
    path.write_bytes(whole)
    (root / IMAGES / "s3.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(OSError, match=r"s3\.jpg'"):
        check_label_maps(config(root), TRAIN)


def test_some_maps_without_a_class_are_no_fault(root):
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(root / LABELS / "s0.png")
    check_label_maps(config(root), TRAIN)


def test_images_and_maps_are_pairs(root):
    (root / LABELS / "s1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 4 images have no label map.*s1\.jpg"):
        check_label_maps(config(root), TRAIN)
    (root / IMAGES / "s1.jpg").unlink()
    check_label_maps(config(root), TRAIN)
    (root / IMAGES / "s2.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 label maps have no image.*s2\.png"):
        check_label_maps(config(root), TRAIN)
    (root / "list.txt").write_text("s0\ns3\n")
    check_label_maps(config(root, ann_file="list.txt"), TRAIN)
    (root / "list.txt").write_text("s0\ns1\n")
    with pytest.raises(FileNotFoundError, match=r"1 of 2 images have no label map.*s1\.jpg"):
        check_label_maps(config(root, ann_file="list.txt"), TRAIN)


@pytest.mark.parametrize(
    ("folder", "old", "new", "option"),
    [(IMAGES, ".jpg", ".JPG", "img_suffix"), (LABELS, ".png", ".tif", "seg_map_suffix")],
)
def test_another_suffix_is_named(root, folder, old, new, option):
    rename(root, folder, old, new)
    with pytest.raises(FileNotFoundError, match=rf"{folder}'.*'\{old}', but 4 \{new}: set {option}"):
        check_label_maps(config(root), TRAIN)
    check_label_maps(config(root, **{option: new}), TRAIN)


def test_missing_folders_are_named_with_their_option(root):
    cfg = config(root, data_prefix=dict(img_path=IMAGES, seg_map_path="labels"))
    with pytest.raises(FileNotFoundError, match=r"labels' not found: set data_prefix\.seg_map_path"):
        check_label_maps(cfg, TRAIN)
    with pytest.raises(ValueError, match="must have the folder 'seg_map_path'"):
        check_label_maps(config(root, data_prefix=dict(img_path=IMAGES)), TRAIN)


def test_labels_that_another_transform_reads_are_not_judged(root):
    relabel(root, lambda a: np.stack([a] * 3, -1))
    steps = [dict(type="mmmim.LoadLabelledImage"), dict(type="LoadColorsAsLabels")]
    check_label_maps(config(root, pipeline=steps), TRAIN)


def test_at_most_50_maps_are_read(root, monkeypatch):
    for i in range(4, 120):
        for folder, suffix in ((IMAGES, ".jpg"), (LABELS, ".png")):
            (root / folder / f"s{i}{suffix}").write_bytes((root / folder / f"s0{suffix}").read_bytes())
    read = []
    from mmmim.data import labelled_transforms

    load = labelled_transforms.read_label_map
    monkeypatch.setattr(
        labelled_transforms, "read_label_map", lambda path: read.append(Path(path).name) or load(path)
    )
    check_label_maps(config(root), TRAIN)
    assert len(set(read)) == 50


def test_transforms_take_the_range_of_the_head(root):
    cfg = config(root, head=[dict(num_classes=9), dict(num_classes=2, ignore_index=7)])
    set_label_range(cfg, TRAIN)
    step = cfg.train_dataloader.dataset.pipeline[1]
    assert (step.num_classes, step.ignore_index) == (2, 7)
    own = dict(type="mmmim.LoadLabelMap", num_classes=5)
    cfg = config(root, pipeline=[own])
    set_label_range(cfg, TRAIN)
    assert cfg.train_dataloader.dataset.pipeline[0].num_classes == 5
    pretraining = Config(dict(model=dict(type="MAE"), train_dataloader=dict(dataset=dict(type="X"))))
    set_label_range(pretraining, TRAIN)


def test_a_head_of_another_number_of_classes_is_refused(root):
    check_classes(config(root), TRAIN)
    with pytest.raises(ValueError, match=r"2 classes.*model\.decode_head has 11.*num_classes=2"):
        check_classes(config(root, head=dict(num_classes=11)), TRAIN)
    cfg = config(root)
    cfg.model.auxiliary_head = [dict(num_classes=2), dict(num_classes=11)]
    with pytest.raises(ValueError, match=r"model\.auxiliary_head\.1 has 11"):
        check_classes(cfg, TRAIN)
    ade = config(root, type="ADE20KDataset", head=dict(num_classes=11))
    del ade.train_dataloader.dataset["metainfo"]
    with pytest.raises(ValueError, match="150 classes"):
        check_classes(ade, TRAIN)


def test_a_softmax_over_one_class_is_refused(root):
    with pytest.raises(ValueError, match=r"decode_head has 1 class.*num_classes=2"):
        check_classes(config(root, ("road",)), TRAIN)
    sigmoid = dict(num_classes=1, loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=True))
    check_classes(config(root, ("road",), head=sigmoid), TRAIN)
