import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from mmmim.data.synthetic import CLASSES, ScenesSpec, draw_scene, make_scenes

SPEC = ScenesSpec(size=64, unlabelled=5, labelled=4, validation=3)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_scenes(tmp_path_factory.mktemp("data") / "scenes", SPEC)


def test_both_layouts_hold_the_same_images(root):
    assert len(list((root / "unlabelled").glob("*.jpg"))) == 5 + 4
    for long_name, short, count in (("training", "train", 4), ("validation", "val", 3)):
        coco = sorted((root / f"coco/{short}2017").glob("*.jpg"))
        ade = sorted((root / f"ade/images/{long_name}").glob("*.jpg"))
        assert len(coco) == len(ade) == count
        assert [f.read_bytes() for f in coco] == [f.read_bytes() for f in ade]


def test_boxes_masks_and_semantic_map_are_one_truth(root):
    coco = COCO(root / "coco/annotations/instances_train2017.json")
    for image in coco.loadImgs(coco.getImgIds()):
        name = image["file_name"].replace(".jpg", ".png")
        semantic = np.asarray(Image.open(root / "ade/annotations/training" / name))
        covered = np.zeros_like(semantic, bool)
        for annotation in coco.loadAnns(coco.getAnnIds(image["id"])):
            mask = coco.annToMask(annotation).astype(bool)
            assert (semantic[mask] == annotation["category_id"] + 1).all()
            assert not (covered & mask).any()  # each pixel belongs to the front object
            covered |= mask
            rows, columns = np.nonzero(mask)
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert annotation["bbox"] == box
            assert annotation["area"] == mask.sum()
        # Pixels that no annotated object covers are background.
        assert (semantic > 0).all()
        assert (semantic[~covered] == 1).all()


def test_every_class_and_scale_occurs():
    labels, areas = set(), []
    for i in range(60):
        scene = draw_scene(np.random.default_rng(i), 96)
        labels |= set(scene.labels)
        areas += [int(mask.sum()) for mask in scene.masks]
    assert labels == set(range(len(CLASSES)))
    assert max(areas) > 10 * min(areas)


def test_the_same_spec_draws_the_same_bytes(root, tmp_path):
    again = make_scenes(tmp_path / "scenes", SPEC)
    for file in root.rglob("*.*"):
        assert file.read_bytes() == (again / file.relative_to(root)).read_bytes(), file


def test_finished_scenes_are_kept_and_others_refused(root):
    before = (root / "spec.json").stat().st_mtime_ns
    assert make_scenes(root, SPEC) == root
    assert (root / "spec.json").stat().st_mtime_ns == before
    with pytest.raises(FileExistsError, match="another spec"):
        make_scenes(root, ScenesSpec(size=32))


def test_an_interrupted_drawing_is_made_anew(tmp_path):
    leftover = tmp_path / "scenes.partial" / "unlabelled"
    leftover.mkdir(parents=True)
    (leftover / "half.jpg").write_bytes(b"half")
    root = make_scenes(tmp_path / "scenes", SPEC)
    assert not (root / "unlabelled/half.jpg").exists()
    assert json.loads((root / "spec.json").read_text())["size"] == 64
