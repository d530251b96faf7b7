"""From a backbone's maps to the pyramid that mmdet and mmseg read."""

from mmmim.transfer.feature_pyramid import SimpleFeaturePyramid
from mmmim.transfer.halved import AppendHalved
from mmmim.transfer.loading import LoadLabelledImage
from mmmim.transfer.padding import PadBorder

__all__ = ["AppendHalved", "LoadLabelledImage", "PadBorder", "SimpleFeaturePyramid"]
