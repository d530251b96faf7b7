"""mmdet's boxes in float32 under mixed precision: bfloat16 has multiples of 4 from 512 pixels on.

mmdet takes anchors and regions to the type of the maps that a head gives or cuts; detectron2 decodes in
float32 (modeling/box_regression.py:88).
"""

from torch import Tensor, nn

from mmmim.registry import MODELS

# mmdet is imported where it is needed: pretraining does without.


@MODELS.register_module()
def FloatRPNHead(**kwargs) -> nn.Module:
    """mmdet's RPNHead, whose scores and box deltas are float32, and so its anchors
    (base_dense_head.py:270, `dtype=cls_scores[0].dtype`)."""
    from mmdet.models import RPNHead

    head = RPNHead(**kwargs)
    head.register_forward_hook(_float_outputs)
    return head


@MODELS.register_module()
def FloatRoIExtractor(**kwargs) -> nn.Module:
    """mmdet's SingleRoIExtractor, given its maps in float32, and so its boxes
    (single_level_roi_extractor.py, `rois.type_as`). Maps that a BatchNorm made are not."""
    from mmdet.models import SingleRoIExtractor

    extractor = SingleRoIExtractor(**kwargs)
    extractor.register_forward_pre_hook(_float_maps)
    return extractor


def _float_outputs(_: nn.Module, args: tuple, outputs: tuple[list[Tensor], ...]) -> tuple:
    return tuple([level.float() for level in levels] for levels in outputs)


def _float_maps(_: nn.Module, args: tuple) -> tuple:
    maps, *others = args
    return [level.float() for level in maps], *others
