"""Hooks of a run."""

from mmmim.deprecation import register_old_names
from mmmim.engine.hooks.bad_steps import BadStepHook
from mmmim.engine.hooks.broken_images import BrokenImagesHook
from mmmim.engine.hooks.checkpoint import CheckpointHook
from mmmim.engine.hooks.data_wait import DataWaitHook
from mmmim.engine.hooks.deferred_loss import DeferredLossHook
from mmmim.engine.hooks.iter_seed import IterSeedHook
from mmmim.engine.hooks.prediction import PredictionHook
from mmmim.engine.hooks.quick_signals import KNNEvalHook, SegmentationProbeHook
from mmmim.engine.hooks.rescale_resume import RescaleResumeHook
from mmmim.engine.hooks.safe_points import SafePointHook
from mmmim.engine.hooks.watchdog import WatchdogHook
from mmmim.registry import HOOKS

register_old_names(
    HOOKS,
    LossLogHook=DeferredLossHook,
    NearestNeighbourHook=KNNEvalHook,
    ReproducibilityHook=IterSeedHook,
    ResumedStepsHook=RescaleResumeHook,
)

__all__ = [
    "BadStepHook",
    "BrokenImagesHook",
    "CheckpointHook",
    "DataWaitHook",
    "DeferredLossHook",
    "IterSeedHook",
    "KNNEvalHook",
    "PredictionHook",
    "RescaleResumeHook",
    "SafePointHook",
    "SegmentationProbeHook",
    "WatchdogHook",
]
