"""Regions of interest, in coordinates that stay exact under mixed precision."""

from torch import nn

from mmmim.registry import MODELS


@MODELS.register_module()
def FloatRoIExtractor(**kwargs) -> nn.Module:
    """mmdet's SingleRoIExtractor, given its maps in float32.

    It takes boxes to the type of the maps (single_level_roi_extractor.py, `rois.type_as`), and in
    bfloat16 those from 512 pixels on are multiples of 4. Under autocast, maps that a BatchNorm made are
    bfloat16.
    """
    from mmdet.models import SingleRoIExtractor  # here: pretraining does without mmdet

    extractor = SingleRoIExtractor(**kwargs)
    extractor.register_forward_pre_hook(_float_maps)
    return extractor


def _float_maps(_: nn.Module, args: tuple) -> tuple:
    maps, *others = args
    return [feature.float() for feature in maps], *others
