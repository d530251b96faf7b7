"""What is predicted."""

from mmmim.targets.low_frequency import LowFrequencyTarget, LowPassFilter
from mmmim.targets.pixels import PixelTarget
from mmmim.targets.teacher import Teacher, TeacherStates

__all__ = ["LowFrequencyTarget", "LowPassFilter", "PixelTarget", "Teacher", "TeacherStates"]
