"""Optimiser wrappers and parameter groups."""

from mmmim.optim.amp import AmpOptimWrapper
from mmmim.optim.fsdp import BlockFSDPStrategy, wrap_blocks
from mmmim.optim.layer_decay import LayerDecayOptimWrapperConstructor

__all__ = [
    "AmpOptimWrapper",
    "BlockFSDPStrategy",
    "LayerDecayOptimWrapperConstructor",
    "wrap_blocks",
]
