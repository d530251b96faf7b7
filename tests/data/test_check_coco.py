"""Annotation files that would train wrongly, or crash a library, are refused before training."""

import copy
import json
import logging
import re

import numpy as np
import pytest
from mmengine import Config
from mmengine.logging import MMLogger
from PIL import Image
from pycocotools import mask as coco_mask

from mmmim.data import coco_file
from mmmim.data.check_coco import check_annotations
from mmmim.data.checks import check_classes, check_data_roots
from mmmim.data.coco_file import read_coco

WIDTH, HEIGHT = 64, 48
TRAIN = ("train_dataloader",)


def content() -> dict:
    """Four images with two boxes each."""
    images = [dict(id=i + 1, file_name=f"{i}.jpg", width=WIDTH, height=HEIGHT) for i in range(4)]
    annotations = [
        dict(
            id=2 * i + k + 1,
            image_id=i + 1,
            category_id=k + 1,
            bbox=[30 + i, 20 + k, 20, 16],
            area=320,
            iscrowd=0,
            segmentation=[[30 + i, 20 + k, 50 + i, 20 + k, 50 + i, 36 + k, 30 + i, 36 + k]],
        )
        for i in range(4)
        for k in range(2)
    ]
    return dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=1, name="a"), dict(id=2, name="b")],
    )


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(4):
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / f"images/{i}.jpg")
    return tmp_path


def config(root, data, masks=True, loader="train_dataloader", **dataset) -> Config:
    (root / "own.json").write_text(data if isinstance(data, str) else json.dumps(data))
    base = dict(
        type="CocoDataset",
        data_root=f"{root}/",
        ann_file="own.json",
        data_prefix=dict(img="images/"),
        metainfo=dict(classes=("a", "b")),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=[
            dict(type="mmmim.LoadLabelledImage"),
            dict(type="LoadAnnotations", with_bbox=True, with_mask=masks),
        ],
    )
    return Config(
        {
            "default_scope": "mmdet",
            "model": dict(type="MaskRCNN"),
            loader: dict(dataset=dict(base, **dataset)),
        }
    )


def rle(mask) -> dict:
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return dict(size=encoded["size"], counts=encoded["counts"].decode())


def test_sound_files_pass_with_polygons_and_both_kinds_of_rle(root):
    data = content()
    masks = np.random.default_rng(0).random((8, HEIGHT, WIDTH)) < 0.3
    masks[0], masks[1] = False, True
    for annotation, mask in zip(data["annotations"], masks, strict=True):
        annotation["segmentation"] = rle(mask)
        pixels = mask.T.reshape(-1)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], pixels])))
        runs = np.diff(np.concatenate([[0], edges, [pixels.size]])).tolist()
        assert coco_file._runs(annotation["segmentation"]["counts"]) == runs
        if annotation["id"] % 2:
            annotation.update(segmentation=dict(size=[HEIGHT, WIDTH], counts=runs), iscrowd=1)
    check_annotations(config(root, data), TRAIN)
    check_annotations(config(root, content()), TRAIN)


def each(**changes):
    """Change every annotation."""
    return lambda data: [
        annotation.update(copy.deepcopy(changes)) for annotation in data["annotations"]
    ]


def third(**changes):
    """Change annotation 3, of image 1.jpg."""
    return lambda data: data["annotations"][2].update(changes)


def without(name, key, count=None):
    return lambda data: [entry.pop(key) for entry in data[name][:count]]


def as_xyxy(data):
    for annotation in data["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["bbox"] = [x, y, x + w, y + h]


ONE = "annotation 3 of '1.jpg'"
FAULTS = {
    "one image id": (
        lambda d: [image.update(id=1) for image in d["images"]],
        r"3 ids that occur twice \(image 1, image 1, image 1\).*number",
    ),
    "annotation ids": (each(id=7), r"7 ids that occur twice \(annotation 7, .*\.\.\.\)"),
    "category ids": (lambda d: d["categories"][1].update(id=1), r"twice \(category 1"),
    "category names": (lambda d: d["categories"][1].update(name="a"), r"categories.*twice \('a'"),
    "no annotation id": (without("annotations", "id"), "8 entries without id"),
    "no image id": (without("images", "id", 1), "1 entries without id"),
    "ids of another kind": (each(image_id="1"), "8 annotations whose image_id is no image's"),
    "unknown image": (third(image_id=99), "annotation 3 of image 99"),
    "unknown category": (third(category_id=99), f"1 annotations whose category_id.*{ONE}"),
    "no category": (without("annotations", "category_id", 1), "1 annotations without.*category_id"),
    "no file name": (without("images", "file_name", 1), "1 images without file_name"),
    "no height": (without("images", "height"), "4 images without file_name, width or height"),
    "height 0": (lambda d: d["images"][1].update(height=0), r"no sizes.*\('1.jpg' of 64 x 0\)"),
    "height of text": (lambda d: d["images"][1].update(height="48"), "no sizes"),
    "50,000 pixels": (lambda d: d["images"][1].update(width=50_000, height=50_000), "more than"),
    "xyxy": (
        as_xyxy,
        r"8 annotations.*reaches beyond.*\[x1, y1, x2, y2\] would.*\[x, y, width, height\]",
    ),
    "nan": (third(bbox=[1, float("nan"), 3, 4]), f"1 annotations.*4 finite numbers.*{ONE}"),
    "infinite": (third(bbox=[1, 2, float("inf"), 4]), "4 finite numbers"),
    "huge integer": (third(bbox=[10**400, 2, 3, 4]), "annotations"),
    "three numbers": (third(bbox=[1, 2, 3]), "4 finite numbers"),
    "text": (third(bbox=["1", "2", "3", "4"]), "4 finite numbers"),
    "no bbox": (without("annotations", "bbox", 1), "4 finite numbers.*annotation 1 of"),
    "negative": (third(bbox=[20, 20, -5, 5]), f"1 annotations.*negative.*{ONE}"),
    "outside": (third(bbox=[200, 20, 5, 5]), f"1 annotations.*outside the image.*{ONE}"),
    "no area": (without("annotations", "area"), "8 annotations without a number as area"),
    "area nan": (third(area=float("nan")), f"as area.*{ONE}"),
    "list": (lambda d: d["annotations"].insert(2, [1, 2]), "of another form"),
    "iscrowd of text": (third(iscrowd="no"), f"iscrowd is neither 0 nor 1.*{ONE}"),
    "no segmentation": (without("annotations", "segmentation"), r"8 annotations without segmentation"),
    "empty segmentation": (each(segmentation=[]), "8 annotations without segmentation"),
    "text segmentation": (third(segmentation="abc"), f"no list of polygons.*{ONE}"),
    "flat polygon": (third(segmentation=[1, 2, 3, 4, 5, 6]), "no list of polygons"),
    "polygon of text": (third(segmentation=[["1", "2"] * 3]), "no list of polygons"),
    "polygon nan": (third(segmentation=[[1, 2, 3, 4, 5, float("nan")]]), "no list of polygons"),
    "odd polygon": (third(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), f"odd number.*{ONE}"),
    "short polygon": (third(segmentation=[[1, 2, 3, 4]]), f"fewer than 3 points.*{ONE}"),
    "polygon at 1e9": (third(segmentation=[[1e9, 0, 1e9, 9, 0, 9]]), f"far outside.*{ONE}"),
    "polygon at -1e9": (third(segmentation=[[-1e9, 0, 1, 9, 0, 9]]), f"far outside.*{ONE}"),
    "garbage RLE": (third(segmentation=dict(size=[HEIGHT, WIDTH], counts="@@@~~~")), "broken RLE"),
    "endless RLE": (third(segmentation=dict(size=[HEIGHT, WIDTH], counts="PPPP")), "broken RLE"),
    "RLE of counts": (third(segmentation=dict(size=[HEIGHT, WIDTH], counts=[9, 9])), "broken RLE"),
    "RLE of minus": (
        third(segmentation=dict(size=[HEIGHT, WIDTH], counts=[-9, 9 + HEIGHT * WIDTH])),
        "broken RLE",
    ),
    "RLE without counts": (third(segmentation=dict(size=[HEIGHT, WIDTH])), "broken RLE"),
    "RLE 50,000": (
        third(segmentation=dict(size=[50_000, 50_000], counts=[2_500_000_000])),
        f"RLE of another size.*{ONE}",
    ),
    "RLE turned": (third(segmentation=rle(np.ones((WIDTH, HEIGHT)))), "RLE of another size"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_with_file_count_and_annotation(root, fault):
    data = content()
    change, message = FAULTS[fault]
    change(data)
    with pytest.raises(ValueError, match=rf"own\.json' has (.|\n)*{message}"):
        check_annotations(config(root, data), TRAIN)


@pytest.mark.parametrize("fault", [name for name in FAULTS if "olygon" in name or "RLE" in name])
def test_masks_that_are_not_read_need_not_be_sound(root, fault):
    data = content()
    FAULTS[fault][0](data)
    check_annotations(config(root, data, masks=False), TRAIN)


def test_all_faults_are_listed_at_once(root):
    data = content()
    third(bbox=[1, 2])(data)
    data["annotations"][4].update(area=None)
    with pytest.raises(ValueError, match=r"own\.json' has 1 .*\n.*own\.json' has 1 "):
        check_annotations(config(root, data), TRAIN)


@pytest.fixture
def log(monkeypatch):
    lines = []
    logger = MMLogger.get_instance("test_check_coco")
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(f"{record.levelname}: {record.getMessage()}")
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


WARNINGS = {
    "empty box": (third(bbox=[5, 5, 0, 9]), f"1 annotations with an empty bbox.*{ONE}.*remove"),
    "area 0": (third(area=0), "1 annotations with an empty bbox or area"),
    "beyond": (third(bbox=[50, 20, 20, 9]), f"1 annotations.*reaches beyond the image.*{ONE}"),
    "id 0": (third(id=0), "id 0.*number annotations from 1"),
    "file twice": (lambda d: d["images"][1].update(file_name="0.jpg"), r"occur twice \('0.jpg'\)"),
    "short part": (
        third(segmentation=[[1, 2, 3, 4], [1, 2, 9, 2, 9, 9]]),
        "polygon of fewer than 3 points, which mmdet ignores",
    ),
}


@pytest.mark.parametrize("fault", WARNINGS)
def test_what_mmdet_bears_is_a_warning(root, log, fault):
    data = content()
    change, message = WARNINGS[fault]
    change(data)
    check_annotations(config(root, data), TRAIN)
    assert any(line.startswith("WARNING") for line in log)
    assert re.search(message, "\n".join(log))


def test_boxes_near_the_border_are_no_xyxy(root, log):
    data = content()
    for annotation in data["annotations"]:  # read as xyxy, x2 < x1
        annotation["bbox"] = [40, 20, 25, 16]
    check_annotations(config(root, data), TRAIN)
    assert not log


@pytest.mark.parametrize("text", ['{"images": [', "", "[]", "\ufeff{}"])
def test_what_is_no_json_object_is_refused_by_name(root, text):
    with pytest.raises(ValueError, match=r"own\.json"):
        check_annotations(config(root, text), TRAIN)


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_a_missing_list_is_named(root, key):
    data = content()
    data.pop(key)
    with pytest.raises(ValueError, match=rf"own\.json' has no list of {key}"):
        check_annotations(config(root, data), TRAIN)


def test_test_images_need_no_annotations(root):
    data = content()
    data.pop("annotations")
    cfg = config(root, data, loader="test_dataloader", test_mode=True)
    check_annotations(cfg, ("test_dataloader",))


def test_evaluation_needs_iscrowd(root):
    data = content()
    without("annotations", "iscrowd", 2)(data)
    check_annotations(config(root, data), TRAIN)
    with pytest.raises(ValueError, match=r"own\.json' has 2 annotations without iscrowd"):
        check_annotations(config(root, data, loader="val_dataloader"), ("val_dataloader",))


def test_a_missing_file_is_named(root):
    cfg = config(root, content(), ann_file="annotations/none.json")
    with pytest.raises(FileNotFoundError, match=r"annotations/none\.json' not found: set data_root"):
        check_annotations(cfg, TRAIN)
    cfg = config(root, content(), loader="val_dataloader", test_mode=True)
    cfg.val_evaluator = dict(type="CocoMetric", ann_file="nowhere.json")
    with pytest.raises(FileNotFoundError, match=r"val_evaluator\.ann_file 'nowhere\.json'"):
        check_annotations(cfg, ("val_dataloader",))
    with pytest.raises(FileNotFoundError, match=r"own\.json' names images.*elsewhere.*0\.jpg"):
        check_annotations(config(root, content(), data_prefix=dict(img="elsewhere/")), TRAIN)


def test_images_of_another_size_are_refused_before_training(root):
    Image.new("RGB", (32, 24)).save(root / "images/2.jpg")
    with pytest.raises(OSError, match=r"2\.jpg' has 32 x 24 pixels.*say 64 x 48.*resized"):
        check_annotations(config(root, content()), TRAIN)
    (root / "images/2.jpg").write_bytes(b"")
    with pytest.raises(OSError, match=r"2\.jpg': the file is empty"):
        check_annotations(config(root, content()), TRAIN)


def test_images_that_are_left_out_are_counted(root, log):
    data = content()
    data["annotations"] = data["annotations"][:4]
    check_annotations(config(root, data), TRAIN)
    assert "2 of 4 images: 2 without an annotation of the classes, 0 smaller" in log[-1]
    check_annotations(config(root, data, filter_cfg=None), TRAIN)
    assert len(log) == 1


def test_no_image_left_is_refused(root):
    data = content()
    for image in data["images"]:
        image.update(width=24, height=24)  # the files are larger, but this comes first
    for annotation in data["annotations"]:
        annotation.update(bbox=[1, 1, 9, 9], segmentation=[[1, 1, 9, 1, 9, 9]])
    with pytest.raises(ValueError, match=r"own\.json' leaves no image.*4 smaller than min_size 32"):
        check_annotations(config(root, data), TRAIN)
    data = content()
    data["annotations"] = []
    for options in (dict(), dict(filter_cfg=None)):
        with pytest.raises(ValueError, match=r"own\.json' leaves no image.*4 without"):
            check_annotations(config(root, data, **options), TRAIN)


def test_the_data_sets_of_wrappers_are_checked_too(root, tmp_path):
    cfg = config(root, content())
    good = cfg.train_dataloader.dataset
    (root / "bad.json").write_text("{")
    parts = [good, dict(type="RepeatDataset", times=2, dataset=dict(good, ann_file="bad.json"))]
    cfg.train_dataloader.dataset = dict(type="ConcatDataset", datasets=parts)
    with pytest.raises(ValueError, match=r"bad\.json' is no JSON"):
        check_annotations(cfg, TRAIN)
    cfg.train_dataloader.dataset.datasets[1].dataset.data_root = "no/where"
    with pytest.raises(FileNotFoundError, match="no/where"):
        check_data_roots(cfg, TRAIN)


def test_forgotten_metainfo_is_refused_with_the_files_names(root):
    cfg = config(root, content(), metainfo=dict())
    with pytest.raises(ValueError, match=r"own\.json'.*no classes of COCO.*classes=\('a', 'b'\)"):
        check_classes(cfg, TRAIN)
    data = content()
    for category, name in zip(data["categories"], ("cat", "dog"), strict=True):
        category["name"] = name
    check_classes(config(root, data, metainfo=dict()), TRAIN)  # a subset of COCO


def test_one_name_without_comma_is_no_list(root):
    with pytest.raises(ValueError, match=r"got 'cat': write \('cat',\)"):
        check_classes(config(root, content(), metainfo=dict(classes="cat")), TRAIN)


@pytest.mark.parametrize(
    ("roi_head", "name"),
    [
        (dict(bbox_head=dict(num_classes=80)), r"roi_head\.bbox_head"),
        (dict(bbox_head=[dict(num_classes=2), dict(num_classes=80)]), r"roi_head\.bbox_head\.1"),
        (dict(mask_head=dict(num_classes=80)), r"roi_head\.mask_head"),
    ],
)
def test_a_head_of_another_number_of_classes_is_refused(root, roi_head, name):
    cfg = config(root, content())
    cfg.model.roi_head = roi_head
    with pytest.raises(ValueError, match=rf"2 classes.*model\.{name} has 80.*num_classes=2"):
        check_classes(cfg, TRAIN)
    cfg.model.roi_head = dict(mask_head=dict(num_classes=80, class_agnostic=True))
    check_classes(cfg, TRAIN)


def test_a_file_is_read_once(root, monkeypatch):
    cfg, reads, load = config(root, content()), [], json.load
    monkeypatch.setattr(coco_file.json, "load", lambda file: reads.append(file) or load(file))
    coco_file._read.cache_clear()
    for _ in range(2):
        check_classes(cfg, TRAIN)
        check_annotations(cfg, TRAIN)
    assert len(reads) == 1
    assert read_coco(root / "own.json").categories == ["a", "b"]
