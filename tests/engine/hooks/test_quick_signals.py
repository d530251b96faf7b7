"""The two quick signals, on pictures whose classes differ only in color."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmmim.engine.hooks import KNNEvalHook, SegmentationProbeHook
from mmmim.engine.hooks.quick_signals import _features, knn_vote
from mmmim.registry import MODELS

PREPROCESSOR = dict(type="ImgDataPreprocessor", mean=[120.0] * 3, std=[60.0] * 3)
MAE = dict(
    type="MAE",
    backbone=dict(
        type="ViT", arch=dict(embed_dims=32, depth=2, num_heads=2), img_size=32, patch_size=8
    ),
    decoder=dict(embed_dims=16, depth=1, num_heads=2),
    data_preprocessor=PREPROCESSOR,
)
CONV_VIT = dict(embed_dims=(8, 16, 32), depths=(1, 1, 2), num_heads=2, patch_sizes=(2, 2, 2))
CONVMAE = dict(MAE, type="ConvMAE", backbone=dict(type="ConvViT", arch=CONV_VIT, img_size=32))
MIXMIM = dict(
    MAE,
    type="MixMIM",
    backbone=dict(
        type="MixMIMTransformer",
        arch=dict(embed_dims=4, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2)),
        img_size=32,
        patch_size=1,
        window_sizes=(8, 8, 8, 4),
    ),
)


def features(images: torch.Tensor) -> torch.Tensor:
    """Mean colors of 4x4-pixel patches."""
    return torch.nn.functional.avg_pool2d(images.float() / 255, 4)


def noisy(shade, rng) -> np.ndarray:
    return (np.full((24, 16, 3), shade) + rng.integers(0, 40, (24, 16, 3))).astype(np.uint8)


@pytest.fixture
def classes(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3)):
        for name, shade in (("dark", (20, 60, 20)), ("red", (200, 20, 20))):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(noisy(shade, rng)).save(folder / f"{i}.png")
    return tmp_path


@pytest.fixture
def scenes(tmp_path):
    """Class 1 is left of a border, class 2 right of it; the lowest rows are unlabelled."""
    rng = np.random.default_rng(0)
    for split in ("training", "validation"):
        for kind in ("images", "annotations"):
            (tmp_path / kind / split).mkdir(parents=True)
        for i in range(6):
            border = 4 * int(rng.integers(1, 4))
            image, label = rng.integers(0, 60, (16, 16, 3)), np.ones((16, 16), np.uint8)
            image[:, border:] += 150
            label[:, border:] = 2
            label[12:] = 0
            Image.fromarray(image.astype(np.uint8)).save(tmp_path / "images" / split / f"{i}.png")
            Image.fromarray(label).save(tmp_path / "annotations" / split / f"{i}.png")
    return tmp_path


def test_neighbours_tell_colours_apart(classes):
    hook = KNNEvalHook(str(classes), k=3, image_size=16)
    assert hook.evaluate(features) == dict(top1=100.0)
    torch.manual_seed(0)
    shuffled = lambda images: torch.rand(len(images), 3, 4, 4)  # noqa: E731
    assert hook.evaluate(shuffled)["top1"] < 100


def test_near_votes_count_more():
    features = torch.nn.functional.normalize(torch.tensor([[1.0, 0], [0.7, 0.7], [0.6, 0.8]]), dim=1)
    labels = torch.tensor([0, 1, 1])
    query = torch.tensor([[1.0, 0.0]])
    assert knn_vote(query, features, labels, k=3).tolist() == [0]
    assert knn_vote(features[2:], features, labels, k=3).tolist() == [1]


def test_the_probe_segments_what_a_linear_map_can(scenes):
    hook = SegmentationProbeHook(str(scenes), num_classes=2, image_size=16)
    assert hook.evaluate(features)["mIoU"] > 80  # interpolation blurs the borders
    constant = lambda images: torch.ones(len(images), 3, 4, 4)  # noqa: E731
    assert hook.evaluate(constant)["mIoU"] < 50


def test_what_is_missing_is_named(classes, scenes, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*train'.*train/CLASS"):
        KNNEvalHook(str(tmp_path / "nowhere"))
    for file in (classes / "train/red").iterdir():
        file.unlink()
    (classes / "train/red").rmdir()
    with pytest.raises(ValueError, match=r"at least two class folders.*\['dark'\]"):
        KNNEvalHook(str(classes))
    (scenes / "annotations/validation").rename(scenes / "annotations/gone")
    with pytest.raises(FileNotFoundError, match=r"annotations/validation'.*ADE20K's layout"):
        SegmentationProbeHook(str(scenes), num_classes=2)


@pytest.mark.filterwarnings("ignore:skipped")
def test_a_damaged_file_is_left_out_and_strange_labels_are_not_looked_at(classes, scenes):
    (classes / "val/red/0.png").write_bytes(b"rubbish")
    hook = KNNEvalHook(str(classes), k=3, image_size=16)
    assert hook.evaluate(features) == dict(top1=100.0)
    probe = SegmentationProbeHook(str(scenes), num_classes=2, image_size=16)
    before = probe.evaluate(features)
    file = scenes / "annotations/training/0.png"
    labels = np.asarray(Image.open(file)).copy()
    labels[12:] = 255  # was 0
    Image.fromarray(labels).save(file)
    assert probe.evaluate(features) == before
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"1 images of .* have no annotation.*0\.png"):
        SegmentationProbeHook(str(scenes), num_classes=2)


def test_a_limit_keeps_every_class(classes):
    hook = KNNEvalHook(str(classes), limit=4)
    assert [label for _, label in hook.files["train"]] == [0, 0, 1, 1]


@pytest.mark.parametrize("config", [MAE, CONVMAE, MIXMIM], ids=lambda config: config["type"])
def test_a_signal_reads_the_normalised_map_that_is_masked(config):
    torch.manual_seed(0)
    method = MODELS.build(config).eval()
    images = torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8)
    map_ = _features(method, images)
    assert map_.shape == (2, 32, 4, 4)
    normalized = (images.float() - 120) / 60
    assert any(torch.equal(map_, m) for m in method.backbone(normalized))
