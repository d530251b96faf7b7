"""From a command line and a config to a run: shared by tools/train.py and tools/test.py."""

from mmmim.launch.batch import (
    check_batch_norm,
    describe_batch,
    launched_processes,
    set_auto_scale_lr,
    set_keep_batch,
    set_whole_updates,
)
from mmmim.launch.config import common_arguments, default_work_dir, load_config
from mmmim.launch.model import replace_sync_bn
from mmmim.launch.processes import fit_to_cpu, set_fsdp
from mmmim.launch.runner import build_runner, compile_model, set_amp
from mmmim.launch.weights import (
    load_tested,
    set_pretrained,
    set_resume,
    set_tested,
    start_method,
    take_image_size,
)

__all__ = [
    "build_runner",
    "check_batch_norm",
    "common_arguments",
    "compile_model",
    "default_work_dir",
    "describe_batch",
    "fit_to_cpu",
    "launched_processes",
    "load_config",
    "load_tested",
    "replace_sync_bn",
    "set_amp",
    "set_auto_scale_lr",
    "set_fsdp",
    "set_keep_batch",
    "set_pretrained",
    "set_resume",
    "set_tested",
    "set_whole_updates",
    "start_method",
    "take_image_size",
]
