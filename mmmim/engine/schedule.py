"""The length of a run: epochs, and steps when gradients are accumulated."""

from typing import Any

from mmengine import Config

# A run writes at least this many checkpoints, if it has so many epochs.
CHECKPOINTS = 20


def set_epochs(cfg: Config, epochs: int) -> None:
    """`--epochs`: rescale all that depends on the length of the recipe.

    The warm-up keeps its length, as the papers do when they train shorter or longer, unless it would
    take more than half of the run: then it keeps its share of the run, at least one epoch or
    iteration. A run of one epoch has no warm-up.

    Args:
        cfg: with a top-level `epochs`, the length of the recipe; changed in place.
        epochs: the new length.

    Raises:
        ValueError: the recipe does not state its epochs, or `epochs` is not positive.
    """
    recipe = cfg.get("epochs")
    if not isinstance(recipe, int):
        raise ValueError(
            f"--epochs rescales a recipe by its top-level `epochs`, and '{cfg.filename}' has none: set "
            "its train_cfg and param_scheduler instead"
        )
    if epochs < 1:
        raise ValueError(f"--epochs must be 1 or more, got {epochs}")
    unit = "max_epochs" if "max_epochs" in cfg.train_cfg else "max_iters"
    old = cfg.train_cfg[unit]
    new = max(round(old * epochs / recipe), 1)
    warmup = _warmup(cfg.param_scheduler)
    new_warmup = warmup
    if warmup > new // 2:
        new_warmup = max(round(warmup * new / old), 1) if new > 1 else 0
    if not new_warmup:
        cfg.param_scheduler = [s for s in cfg.param_scheduler if s["type"] != "LinearLR"]
    for scheduler in cfg.param_scheduler:
        _rescale(scheduler, epochs / recipe, {warmup: new_warmup, old: new})
    cfg.train_cfg[unit] = new
    checkpoint = cfg.default_hooks.checkpoint
    if checkpoint.get("by_epoch", True):
        checkpoint.interval = min(checkpoint.interval, max(epochs // CHECKPOINTS, 1))
    else:
        checkpoint.interval = min(checkpoint.interval, new)
    if "val_interval" in cfg.train_cfg:
        cfg.train_cfg.val_interval = min(cfg.train_cfg.val_interval, new)
    if "warmup_epochs" in cfg and unit == "max_epochs":
        cfg.warmup_epochs = new_warmup
    cfg.epochs = epochs


def _warmup(schedulers: list[dict[str, Any]]) -> int:
    """Epochs or iterations of the warm-up; 0 without one."""
    return max((s["end"] for s in schedulers if s["type"] == "LinearLR"), default=0)


def _rescale(scheduler: dict[str, Any], factor: float, moved: dict[int, int]) -> None:
    """Multiply the points of a schedule by `factor`, except those whose new place is given."""

    def move(point: int) -> int:
        return moved.get(point, round(point * factor))

    begin = scheduler.get("begin", 0)
    if "T_max" in scheduler:
        scheduler["T_max"] = max(move(begin + scheduler["T_max"]) - move(begin), 1)
    for key in ("begin", "end"):
        if key in scheduler:
            scheduler[key] = move(scheduler[key])
    if "milestones" in scheduler:
        scheduler["milestones"] = [move(point) for point in scheduler["milestones"]]


def scale_steps(cfg: Config, factor: float) -> None:
    """Multiply all that counts steps: an update of n accumulated steps counts as n steps.

    Args:
        cfg: changed in place.
        factor: new accumulated steps by old ones.
    """
    for key in ("max_iters", "val_interval"):
        if "max_iters" in cfg.train_cfg and key in cfg.train_cfg:
            cfg.train_cfg[key] = round(cfg.train_cfg[key] * factor)
    checkpoint = cfg.get("default_hooks", {}).get("checkpoint", {})
    if not checkpoint.get("by_epoch", True):
        checkpoint["interval"] = round(checkpoint["interval"] * factor)
    for scheduler in cfg.get("param_scheduler", []):
        if scheduler.get("by_epoch", True):
            continue
        for key in ("begin", "end", "T_max"):
            if key in scheduler:
                scheduler[key] = round(scheduler[key] * factor)
        if "milestones" in scheduler:
            scheduler["milestones"] = [round(point * factor) for point in scheduler["milestones"]]
