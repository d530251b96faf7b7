"""Encoder tokens to target space."""

from mmmim.decoders.dual_decoder import DualDecoder
from mmmim.decoders.dynamic_alignment import DynamicAlignment
from mmmim.decoders.fusion import MultiScaleFusion
from mmmim.decoders.pixel_decoder import PixelDecoder

__all__ = ["DualDecoder", "DynamicAlignment", "MultiScaleFusion", "PixelDecoder"]
