"""What is predicted."""

from mmmim.targets.low_frequency import LowFrequencyTarget, LowPassFilter
from mmmim.targets.pixels import PixelTarget

__all__ = ["LowFrequencyTarget", "LowPassFilter", "PixelTarget"]
