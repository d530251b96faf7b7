"""Optimiser wrappers and parameter groups."""

from mmmim.optim.amp import AmpOptimWrapper
from mmmim.optim.layer_decay import LayerDecayOptimWrapperConstructor

__all__ = ["AmpOptimWrapper", "LayerDecayOptimWrapperConstructor"]
