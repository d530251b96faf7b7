"""torchvision's operators in place of mmcv's."""

import importlib.util
import subprocess
import sys

import pytest
import torch
import torchvision

from mmmim import _compat

without_compiled = pytest.mark.skipif(
    _compat.has_compiled_mmcv(), reason="mmcv has compiled operators of its own"
)


@without_compiled
def test_nms_keeps_the_best_of_overlapping_boxes():
    from mmcv.ops import nms

    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
    kept, indices = nms(boxes, torch.tensor([0.5, 0.9, 0.3]), iou_threshold=0.5)
    assert indices.tolist() == [1, 2]
    assert kept[:, 4].tolist() == pytest.approx([0.9, 0.3])


@without_compiled
def test_nms_offset_counts_the_last_pixel():
    # 10 pixel boxes shifted by 5: IoU is 50/150 without the last pixel, 66/176 with it.
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10]])
    scores = torch.tensor([0.9, 0.8])
    assert _compat.nms(boxes, scores, 0.35, offset=0).tolist() == [0, 1]
    assert _compat.nms(boxes, scores, 0.35, offset=1).tolist() == [0]


@without_compiled
def test_roi_align_and_its_gradient_are_torchvisions():
    from mmcv.ops import RoIAlign

    features = torch.randn(2, 3, 16, 16, requires_grad=True)
    rois = torch.tensor([[0, 1.0, 2, 12, 13], [1, 0, 0, 7, 15]])
    ours = RoIAlign((4, 5), spatial_scale=0.5, sampling_ratio=2)(features, rois)
    (gradient,) = torch.autograd.grad(ours.square().sum(), features)
    theirs = torchvision.ops.roi_align(
        features, rois, (4, 5), spatial_scale=0.5, sampling_ratio=2, aligned=True
    )
    (expected,) = torch.autograd.grad(theirs.square().sum(), features)
    assert torch.equal(ours, theirs)
    assert torch.allclose(gradient, expected)


@without_compiled
def test_another_operator_says_its_name_and_the_cure():
    from mmcv.ops import soft_nms

    with pytest.raises(_compat.MissingOperator, match=r"'softnms'.*Install mmcv with compiled"):
        soft_nms(torch.rand(2, 4), torch.rand(2))


def test_operators_can_be_found_by_spec():
    assert importlib.util.find_spec("mmcv._ext") is not None  # as mmengine looks for it


def test_a_compiled_mmcv_is_left_alone():
    code = """
import sys, types
compiled = sys.modules["mmcv._ext"] = types.ModuleType("mmcv._ext")
import mmmim
assert sys.modules["mmcv._ext"] is compiled
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_pretraining_needs_neither_mmdet_nor_mmseg():
    code = """
import sys
for name in ("mmdet", "mmseg", "mmpretrain"):
    sys.modules[name] = None  # any import of it raises
import mmmim
from mmmim.registry import MODELS
MODELS.build(dict(type="PixMIM", method=dict(type="MAE", backbone=dict(type="ViT", arch="tiny"))))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
