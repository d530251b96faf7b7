"""Images in."""

from mmmim.data import transforms  # noqa: F401  (registers)
from mmmim.data.sampler import EpochSampler
from mmmim.data.unlabelled import UnlabelledImages

__all__ = ["EpochSampler", "UnlabelledImages"]
