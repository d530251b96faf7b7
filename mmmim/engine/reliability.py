"""What every run gets, also if its config does not name it: safe checkpoints and their hooks."""

from typing import Any

from mmengine import Config

# A run is continued, guarded and ended by these; a config may set their arguments in custom_hooks.
HOOKS_OF_EVERY_RUN = (
    "RescaleResumeHook",
    "DeferredLossHook",
    "BadStepHook",
    "SafePointHook",
    "WatchdogHook",
)
OLD_NAMES = dict(
    LossLogHook="DeferredLossHook",
    NonFiniteLossHook="BadStepHook",
    ResumedStepsHook="RescaleResumeHook",
)


def set_reliability(cfg: Config) -> None:
    """Replace mmengine's checkpoint hook and epoch loop by ours, and add the hooks of every run.

    Raises:
        ValueError: the config has no checkpoint hook, or one of another type.
    """
    _set_checkpoint_hook(cfg)
    _set_epoch_loop(cfg)
    hooks = list(cfg.get("custom_hooks") or [])
    present = {OLD_NAMES.get(_name(hook), _name(hook)) for hook in hooks}
    hooks += [dict(type=f"mmmim.{name}") for name in HOOKS_OF_EVERY_RUN if name not in present]
    cfg.custom_hooks = hooks


def _set_checkpoint_hook(cfg: Config) -> None:
    hooks = cfg.get("default_hooks") or {}
    hook = hooks.get("checkpoint", dict(type="CheckpointHook", interval=1))
    if hook is None or _name(hook) not in ("CheckpointHook", ""):
        raise ValueError(
            f"default_hooks.checkpoint is {hook and _name(hook)}, and a run that can be continued "
            "needs mmmim.CheckpointHook: set its type (interval=-1 and save_last=False write no "
            "checkpoints)"
        )
    hooks["checkpoint"] = {**hook, "type": "mmmim.CheckpointHook"}
    cfg.default_hooks = hooks


def _set_epoch_loop(cfg: Config) -> None:
    loop = cfg.train_cfg
    if _name(loop) == "EpochBasedTrainLoop" or ("type" not in loop and loop.get("by_epoch")):
        loop.pop("by_epoch", None)
        loop.type = "mmmim.EpochTrainLoop"


def _name(config: dict[str, Any]) -> str:
    """The type of a config without its scope."""
    found = config.get("type", "")
    return found.rpartition(".")[2] if isinstance(found, str) else found.__name__
