"""Data sets of unlabelled and labelled images, their transforms, and checks of a config's data."""

from mmmim.data import labelled_transforms, transforms  # noqa: F401  (registers the transforms)
from mmmim.data.sampler import EpochSampler
from mmmim.data.unlabelled import UnlabelledImages

__all__ = ["EpochSampler", "UnlabelledImages"]
