"""What watches a run."""

from mmmim.hooks.broken_images import BrokenImagesHook
from mmmim.hooks.non_finite_loss import NonFiniteLossHook
from mmmim.hooks.prediction import PredictionHook
from mmmim.hooks.quick_signals import NearestNeighbourHook, SegmentationProbeHook
from mmmim.hooks.reproducibility import AverageLossHook, ReproducibilityHook
from mmmim.hooks.teacher import AlignmentHook, TeacherHook

__all__ = [
    "AlignmentHook",
    "AverageLossHook",
    "BrokenImagesHook",
    "NearestNeighbourHook",
    "NonFiniteLossHook",
    "PredictionHook",
    "ReproducibilityHook",
    "SegmentationProbeHook",
    "TeacherHook",
]
