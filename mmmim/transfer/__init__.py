"""Between the maps of a backbone and the heads of mmdet, mmseg and mmpretrain."""

from mmmim.deprecation import register_old_names
from mmmim.registry import MODELS
from mmmim.transfer.float32_heads import FP32RoIExtractor, FP32RPNHead
from mmmim.transfer.pooling import GlobalPoolNorm, ProbeClsToken, ProbeGlobalPool
from mmmim.transfer.pyramids import AppendDownsampled, SimpleFeaturePyramid

register_old_names(
    MODELS,
    AppendHalved=AppendDownsampled,
    FloatRPNHead=FP32RPNHead,
    FloatRoIExtractor=FP32RoIExtractor,
    NormedMean=GlobalPoolNorm,
    ProbedMean=ProbeGlobalPool,
    ProbedToken=ProbeClsToken,
)

__all__ = [
    "AppendDownsampled",
    "FP32RPNHead",
    "FP32RoIExtractor",
    "GlobalPoolNorm",
    "ProbeClsToken",
    "ProbeGlobalPool",
    "SimpleFeaturePyramid",
]
