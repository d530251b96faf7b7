"""What watches a run."""

from mmmim.hooks.broken_images import BrokenImagesHook
from mmmim.hooks.data_wait import DataWaitHook
from mmmim.hooks.loss_log import LossLogHook
from mmmim.hooks.non_finite_loss import NonFiniteLossHook
from mmmim.hooks.prediction import PredictionHook
from mmmim.hooks.quick_signals import NearestNeighbourHook, SegmentationProbeHook
from mmmim.hooks.reproducibility import ReproducibilityHook
from mmmim.hooks.resumed_steps import ResumedStepsHook
from mmmim.hooks.teacher import AlignmentHook, TeacherHook

__all__ = [
    "AlignmentHook",
    "BrokenImagesHook",
    "DataWaitHook",
    "LossLogHook",
    "NearestNeighbourHook",
    "NonFiniteLossHook",
    "PredictionHook",
    "ReproducibilityHook",
    "ResumedStepsHook",
    "SegmentationProbeHook",
    "TeacherHook",
]
