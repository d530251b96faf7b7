"""From a backbone's maps to what mmdet, mmseg and mmpretrain read."""

from mmmim.transfer.feature_pyramid import SimpleFeaturePyramid
from mmmim.transfer.full_precision import FloatRoIExtractor, FloatRPNHead
from mmmim.transfer.halved import AppendHalved
from mmmim.transfer.loading import LoadLabelledImage
from mmmim.transfer.padding import PadBorder
from mmmim.transfer.pooling import NormedMean, ProbedMean, ProbedToken

__all__ = [
    "AppendHalved",
    "FloatRPNHead",
    "FloatRoIExtractor",
    "LoadLabelledImage",
    "NormedMean",
    "PadBorder",
    "ProbedMean",
    "ProbedToken",
    "SimpleFeaturePyramid",
]
