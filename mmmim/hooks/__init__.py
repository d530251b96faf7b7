"""What watches a run."""

from mmmim.hooks.broken_images import BrokenImagesHook
from mmmim.hooks.non_finite_loss import NonFiniteLossHook
from mmmim.hooks.reconstruction import ReconstructionHook
from mmmim.hooks.reproducibility import AverageLossHook, ReproducibilityHook

__all__ = [
    "AverageLossHook",
    "BrokenImagesHook",
    "NonFiniteLossHook",
    "ReconstructionHook",
    "ReproducibilityHook",
]
