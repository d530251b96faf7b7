"""From a config and the flags of a command to a run. Start reading at `steps.py`."""

from mmmim.engine.amp import AmpOptimWrapper
from mmmim.engine.config import find_config, load_config
from mmmim.engine.fsdp import BlockFSDPStrategy, wrap_blocks
from mmmim.engine.loop import EpochTrainLoop
from mmmim.engine.param_groups import LayerDecayOptimWrapperConstructor
from mmmim.engine.runner import build_runner, run_test, run_train
from mmmim.engine.steps import TEST_STEPS, TRAIN_STEPS, RunOptions, prepare

__all__ = [
    "TEST_STEPS",
    "TRAIN_STEPS",
    "AmpOptimWrapper",
    "BlockFSDPStrategy",
    "EpochTrainLoop",
    "LayerDecayOptimWrapperConstructor",
    "RunOptions",
    "build_runner",
    "find_config",
    "load_config",
    "prepare",
    "run_test",
    "run_train",
    "wrap_blocks",
]
