import numpy as np
import pytest
import torch
from mmdet.models import SingleRoIExtractor
from mmengine.config import ConfigDict
from PIL import Image

from mmmim.registry import MODELS, TRANSFORMS


def test_levels_stand_at_their_strides():
    neck = MODELS.build(dict(type="SimpleFeaturePyramid", in_channels=16, out_channels=8))
    levels = neck((torch.randn(1, 16, 8, 12),))
    assert [tuple(level.shape[2:]) for level in levels] == [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
    assert {level.shape[1] for level in levels} == {8}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [(dict(scales=(3,)), "among 4, 2, 1 and 0.5, got 3"), (dict(num_outs=2), "at least 4, got 2")],
)
def test_an_impossible_pyramid_is_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type="SimpleFeaturePyramid", in_channels=16, **kwargs))


def test_a_labelled_image_that_is_cut_is_an_error_with_its_name(tmp_path):
    load = TRANSFORMS.build(dict(type="LoadLabelledImage"))
    path = tmp_path / "labelled.jpg"
    Image.effect_noise((64, 64), 50).convert("RGB").save(path)
    assert load(dict(img_path=str(path)))["img"].shape == (64, 64, 3)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(OSError, match=r"labelled\.jpg.*never skipped"):
        load(dict(img_path=str(path)))
    with pytest.raises(OSError, match=r"missing\.jpg"):
        load(dict(img_path=str(tmp_path / "missing.jpg")))


def test_colours_are_loaded_as_mmcv_loads_them(tmp_path):
    path = tmp_path / "red.png"
    Image.new("RGB", (4, 4), (255, 0, 0)).save(path)
    load = TRANSFORMS.build(dict(type="LoadLabelledImage"))
    assert load(dict(img_path=str(path)))["img"][0, 0].tolist() == [0, 0, 255]  # BGR


def test_a_halved_map_is_appended():
    neck = MODELS.build(dict(type="AppendDownsampled", in_channels=8, norm_cfg=dict(type="BN")))
    maps = (torch.randn(2, 4, 16, 16), torch.randn(2, 8, 8, 8))
    *same, halved = neck(maps)
    assert all(a is b for a, b in zip(same, maps, strict=True))
    assert halved.shape == (2, 8, 3, 3)  # without padding, as in the official code


def test_a_map_too_small_to_halve_says_so():
    neck = MODELS.build(dict(type="AppendDownsampled", in_channels=8, norm_cfg=dict(type="BN")))
    with pytest.raises(ValueError, match=r"3x3 or larger.*got \(2, 4\)"):
        neck((torch.randn(1, 8, 2, 4),))


def test_anchors_stay_exact_under_autocast():
    kwargs = dict(
        in_channels=4,
        feat_channels=4,
        num_classes=1,
        anchor_generator=dict(type="mmdet.AnchorGenerator", scales=[8], ratios=[1.0], strides=[4]),
        bbox_coder=dict(type="mmdet.DeltaXYWHBBoxCoder"),
        loss_cls=dict(type="mmdet.CrossEntropyLoss", use_sigmoid=True),
        loss_bbox=dict(type="mmdet.L1Loss"),
        test_cfg=ConfigDict(nms_pre=2000, max_per_img=2000, nms=dict(type="nms", iou_threshold=1.0)),
    )
    head = MODELS.build(dict(type="FP32RPNHead", **kwargs))
    for weight in head.rpn_reg.parameters():
        torch.nn.init.zeros_(weight)  # so that proposals equal the anchors
    maps = (torch.randn(1, 4, 1, 160),)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores, deltas = head(maps)
        (found,) = head.predict_by_feat(scores, deltas, batch_img_metas=[dict(img_shape=(64, 640))])
    assert scores[0].dtype == deltas[0].dtype == torch.float32
    centers = (found.bboxes[:, 0] + found.bboxes[:, 2]) / 2
    inner = (centers > 16) & (centers < 624)
    assert set(centers[inner].tolist()) == set(range(20, 624, 4))


def test_boxes_stay_exact_on_bfloat16_maps():
    kwargs = dict(roi_layer=dict(type="RoIAlign", output_size=2, sampling_ratio=1))
    kwargs |= dict(out_channels=1, featmap_strides=[4])
    maps = [torch.arange(256.0).bfloat16().expand(1, 1, 256, 256)]  # the value is the column
    boxes = torch.tensor([[0.0, 513.0, 513.0, 529.0, 529.0]])  # 513 is 512 in bfloat16
    found = MODELS.build(dict(type="FP32RoIExtractor", **kwargs))(maps, boxes)
    assert found.dtype == torch.float32
    assert found[0, 0, 0].tolist() == [513 / 4 + 0.5, 513 / 4 + 2.5]
    rounded = SingleRoIExtractor(**kwargs)(maps, boxes)
    assert rounded[0, 0, 0].tolist() != found[0, 0, 0].tolist()


def test_a_border_is_not_part_of_the_image():
    """mmdet clips boxes to img_shape."""
    pad = TRANSFORMS.build(dict(type="PadBorder", size=(32, 32), pad_val=dict(img=(128, 128, 128))))
    results = pad(dict(img=np.zeros((20, 32, 3), np.uint8), img_shape=(20, 32)))
    assert results["img"].shape == (32, 32, 3)
    assert results["img"][-1, 0].tolist() == [128] * 3
    assert results["img_shape"] == (20, 32)
