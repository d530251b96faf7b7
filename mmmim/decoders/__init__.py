"""Encoder tokens to target space."""

from mmmim.decoders.pixel_decoder import PixelDecoder

__all__ = ["PixelDecoder"]
