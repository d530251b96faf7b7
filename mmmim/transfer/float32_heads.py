"""mmdet heads with boxes in float32 under mixed precision: above 512, bfloat16 is exact to 4 pixels.

mmdet casts anchors and regions to the dtype of the maps; detectron2 decodes in float32
(modeling/box_regression.py:88).
"""

from typing import Any

from torch import Tensor, nn

from mmmim.registry import MODELS

# mmdet is imported inside functions: pretraining does not need it.


@MODELS.register_module()
def FP32RPNHead(**kwargs: Any) -> nn.Module:
    """mmdet's RPNHead with scores, box deltas and anchors in float32.

    Anchors take the dtype of the scores (base_dense_head.py:270, `dtype=cls_scores[0].dtype`).
    """
    from mmdet.models import RPNHead

    head = RPNHead(**kwargs)
    head.register_forward_hook(_float_outputs)
    return head


@MODELS.register_module()
def FP32RoIExtractor(**kwargs: Any) -> nn.Module:
    """mmdet's SingleRoIExtractor with maps and boxes in float32.

    Boxes take the dtype of the maps (single_level_roi_extractor.py, `rois.type_as`).
    """
    from mmdet.models import SingleRoIExtractor

    extractor = SingleRoIExtractor(**kwargs)
    extractor.register_forward_pre_hook(_float_maps)
    return extractor


def _float_outputs(_: nn.Module, args: tuple, outputs: tuple[list[Tensor], ...]) -> tuple:
    return tuple([level.float() for level in levels] for levels in outputs)


def _float_maps(_: nn.Module, args: tuple) -> tuple:
    maps, *others = args
    return [level.float() for level in maps], *others
