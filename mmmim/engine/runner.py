"""From a prepared config to a runner, and the whole of a training or a test."""

import difflib
import re

from mmengine import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmmim.engine.batch import describe_batch
from mmmim.engine.failures import explained, own_workers
from mmmim.engine.hooks.checkpoint import CheckpointHook
from mmmim.engine.hooks.watchdog import watched
from mmmim.engine.signals import stop_on_signals
from mmmim.engine.steps import TEST_STEPS, TRAIN_STEPS, RunOptions, prepare
from mmmim.engine.weights import load_for_test, load_method
from mmmim.engine.work_dir import claim_work_dir
from mmmim.methods.base import Method, unwrap_model
from mmmim.registry import DATASETS, HOOKS, MODELS, TRANSFORMS


def run_train(cfg: Config, options: RunOptions) -> Runner:
    """Prepare a config, build its runner and train.

    Raises:
        ToBeContinued: a signal stopped the run, with a checkpoint; a SystemExit.
        WorkDirInUse: another run writes to the work dir.
    """
    with claim_work_dir(cfg.work_dir), stop_on_signals(), own_workers(), explained():
        prepare(cfg, options, TRAIN_STEPS)
        runner = build_runner(cfg)
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and options.found:
                hook.found = options.found[0]  # set aside when all ranks have read the checkpoints
        load_method(runner)
        if options.compile:
            compile_model(runner)
        runner.logger.info(describe_batch(cfg, runner.world_size))
        with watched(runner):
            runner.train()
    return runner


def run_test(cfg: Config, options: RunOptions) -> Runner:
    """Prepare a config, build its runner and test `options.checkpoint`."""
    prepare(cfg, options, TEST_STEPS)
    runner = build_runner(cfg)
    load_for_test(runner, options.checkpoint or "")
    runner.test()
    return runner


def build_runner(cfg: Config) -> Runner:
    """Build the runner of a prepared config.

    Raises:
        KeyError: a type that is not registered; the message names similar ones.
    """
    try:
        return RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)
    except KeyError as error:
        raise KeyError(f"{error.args[0]} {_similar_types(str(error))}") from error


def _similar_types(message: str) -> str:
    """What an unknown type in a config may have meant."""
    unknown = re.search(r"(\w+) is not in the", message)
    ours = [name for kind in (MODELS, DATASETS, TRANSFORMS, HOOKS) for name in kind.module_dict]
    near = difflib.get_close_matches(unknown[1], ours, cutoff=0.5) if unknown else []
    return f"mmmim has {sorted(ours)}" + (f"; did you mean {near[0]}?" if near else "")


def compile_model(runner: Runner) -> None:
    """`--compile`: the whole forward pass of a method, or the backbone of a transfer model.

    In place, so that checkpoints keep their keys. Random numbers come from eager torch, so that masks
    stay the same.
    """
    model = unwrap_model(runner.model)
    module = model if isinstance(model, Method) else model.backbone
    module.compile(options=dict(fallback_random=True))
