"""From a config to a runner."""

import difflib
import re
from collections.abc import Sequence

import torch
from mmengine import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmmim.data.labelled import check_classes
from mmmim.data.roots import check_data_roots
from mmmim.hooks.method import method_of
from mmmim.launch.batch import set_whole_updates
from mmmim.launch.processes import fit_to_cpu, set_ddp
from mmmim.launch.weights import coming_checkpoint, take_image_size
from mmmim.methods.base import Method
from mmmim.registry import DATASETS, HOOKS, MODELS, TRANSFORMS


def build_runner(
    cfg: Config, loaders: Sequence[str] = ("train_dataloader", "val_dataloader")
) -> Runner:
    """Check what can be checked early, fit the config to this machine, build the runner.

    Args:
        cfg: of the run.
        loaders: the data loaders that it will read.
    """
    check_data_roots(cfg, loaders)
    check_classes(cfg, loaders)
    take_image_size(cfg, coming_checkpoint(cfg))
    set_whole_updates(cfg)
    set_ddp(cfg)
    if not torch.cuda.is_available():
        fit_to_cpu(cfg)
    try:
        return RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)
    except KeyError as error:
        raise KeyError(f"{error.args[0]} {_similar_types(str(error))}") from error


def _similar_types(message: str) -> str:
    """What an unknown type in a config may have meant."""
    unknown = re.search(r"(\w+) is not in the", message)
    ours = [name for kind in (MODELS, DATASETS, TRANSFORMS, HOOKS) for name in kind.module_dict]
    near = difflib.get_close_matches(unknown[1], ours, cutoff=0.5) if unknown else []
    return f"This project has {sorted(ours)}" + (f"; did you mean {near[0]}?" if near else "")


def set_amp(cfg: Config) -> None:
    """`--amp`: mixed precision on a GPU, full precision with a note on a CPU."""
    cfg.optim_wrapper.type = "mmmim.AmpOptimWrapper"


def compile_model(runner: Runner) -> None:
    """`--compile`: a method's whole forward pass, of a detector, segmenter or classifier its backbone.

    In place, so that checkpoints keep their names; random numbers are eager torch's own, so that masks
    stay what they were.
    """
    model = method_of(runner)
    module = model if isinstance(model, Method) else model.backbone
    module.compile(options=dict(fallback_random=True))
