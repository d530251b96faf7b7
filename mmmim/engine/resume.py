"""Which checkpoint a run continues, and whether it fits."""

import difflib
import logging
import math
import os
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import mmengine.runner
from mmengine import Config
from mmengine.dist import barrier
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner, _flexible_runner, checkpoint, runner
from torch import Tensor, nn

from mmmim.checkpoints import CheckpointMismatch, DamagedCheckpoint, UntrustedCheckpoint, read_file
from mmmim.engine.distribution import launched_rank
from mmmim.methods.base import unwrap_model

# Suffix that a damaged checkpoint is renamed with.
DAMAGED = ".damaged"
# Suffix of checkpoints that are newer than the one that a run was told to continue.
ABANDONED = ".abandoned"
# Settings that may differ between a run and its continuation without a word.
FREE_SETTINGS = (
    "work_dir",
    "load_from",
    "resume",
    "launcher",
    "max_epochs",
    "max_iters",
    "num_workers",
)


def checkpoint_folder(cfg: Config) -> Path:
    """The folder of the checkpoints (mmengine hooks/checkpoint_hook.py:before_train)."""
    work_dir = Path(cfg.work_dir)
    out_dir = ((cfg.get("default_hooks") or {}).get("checkpoint") or {}).get("out_dir")
    return Path(out_dir) / work_dir.name if out_dir else work_dir


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, best ones and files of other names included."""
    return sorted(folder.glob("*.pth"))


@dataclass
class Found:
    """The newest whole checkpoint of a folder.

    Attributes:
        path: its file; None if the folder has no checkpoint of a run.
        content: what it holds.
        damaged: newer files that are not whole, with the reason.
        abandoned: newer files, if an older one was named.
    """

    path: Path | None = None
    content: dict[str, Any] = field(default_factory=dict)
    damaged: dict[Path, str] = field(default_factory=dict)
    abandoned: list[Path] = field(default_factory=list)


def completed_steps(content: Any) -> int | None:
    """Steps of training that a checkpoint has behind it; None for weights alone, or another file."""
    meta = content.get("meta") if isinstance(content, dict) else None
    steps = meta.get("iter") if isinstance(meta, dict) else None
    return steps if type(steps) is int else None


def find_newest_whole(folder: Path, most: float = math.inf) -> Found:
    """The checkpoint with the most steps that is whole.

    The file `last_checkpoint` is not read: it may be lost, empty, or name a place that the folder was
    moved from. Of names that differ in their last number, the largest is tried first.

    Args:
        folder: of the checkpoints.
        most: steps that it may have at most.

    Raises:
        DamagedCheckpoint: there are checkpoints of a run, and none is whole.
        UntrustedCheckpoint: one holds objects other than tensors, arrays and plain values.
    """
    kinds: dict[str, list[Path]] = defaultdict(list)
    for path in list_checkpoints(folder):
        if not path.name.startswith("best_"):
            kinds[re.sub(r"\d+(?=\D*$)", "", path.stem)].append(path)
    found, steps = Found(), -1
    for paths in kinds.values():
        for path in sorted(paths, key=_number, reverse=True):
            try:
                content = read_file(path)
            except DamagedCheckpoint as error:
                found.damaged[path] = str(error)
                continue
            done = completed_steps(content)
            if done is not None and done <= most:
                if done > steps:
                    found.path, found.content, steps = path, content, done
                break
    if found.damaged and found.path is None:
        names = ", ".join(path.name for path in found.damaged)
        raise DamagedCheckpoint(
            f"no checkpoint of '{folder}' is whole: {names}. {next(iter(found.damaged.values()))}. "
            "Start anew in another --work-dir"
        )
    return found


def set_aside(found: Found) -> list[str]:
    """Rename damaged checkpoints, so that they are not tried again -> lines for the log.

    All ranks must have read them before.
    """
    lines = []
    for path, reason in found.damaged.items():
        if launched_rank() == 0:
            os.replace(path, path.with_name(path.name + DAMAGED))
        lines.append(
            f"{reason}. It is renamed to {path.name}{DAMAGED}, and '{found.path}' is continued"
        )
    for path in found.abandoned:
        if launched_rank() == 0:
            os.replace(path, path.with_name(path.name + ABANDONED))
        lines.append(f"'{path}' is newer than '{found.path}': it is renamed to {path.name}{ABANDONED}")
    return lines


def find_newer(path: Path, steps: int) -> list[Path]:
    """The other checkpoints of the folder of `path` that have more than `steps` steps."""
    newer = []
    for other in list_checkpoints(path.parent):
        if other.name == path.name:
            continue
        try:
            done = completed_steps(read_file(other))
        except (DamagedCheckpoint, UntrustedCheckpoint):
            continue
        if done is not None and done > steps:
            newer.append(other)
    return newer


def install_search() -> None:
    """Let mmengine's own `--resume` continue the newest whole checkpoint too."""

    def find_latest_checkpoint(path: str) -> str | None:
        found = find_newest_whole(Path(path))
        barrier()
        for line in set_aside(found):
            print_log(line, "current", logging.WARNING)
        return _pointed_to(Path(path)) if found.path is None else str(found.path)

    # These modules have imported it by name.
    for module in (checkpoint, runner, _flexible_runner, mmengine.runner):
        module.find_latest_checkpoint = find_latest_checkpoint  # type: ignore[attr-defined]


def _pointed_to(work_dir: Path) -> str | None:
    """The file that mmengine's `last_checkpoint` names, as for checkpoints in an `out_dir`."""
    pointer = work_dir / "last_checkpoint"
    named = pointer.read_text().strip() if pointer.is_file() else ""
    return named if named and Path(named).is_file() else None


def _number(path: Path) -> int:
    return int(re.findall(r"\d+", path.stem)[-1]) if re.search(r"\d", path.stem) else 0


def check_fits(runner: Runner, checkpoint: dict[str, Any]) -> None:
    """Compare a checkpoint with the run that would continue it, before anything is loaded or written.

    Differences of the config that a run may have, such as another mask ratio, go into the log.

    Raises:
        CheckpointMismatch: weights or moments of other names or shapes; another model, optimizer or
            learning rate.
    """
    _check_state_dict(runner, checkpoint)
    optimizer = getattr(runner.optim_wrapper, "optimizer", None)
    if isinstance(runner.optim_wrapper, OptimWrapper) and "optimizer" in checkpoint:
        _check_optimizer(optimizer, checkpoint, _names(runner))
        _check_rates(runner, optimizer, checkpoint["optimizer"]["param_groups"])
    _log_differences(runner, checkpoint.get("meta", {}).get("cfg"))


def _check_state_dict(runner: Runner, checkpoint: dict[str, Any]) -> None:
    model = unwrap_model(runner.model)
    before = (checkpoint.get("meta") or {}).get("model_type")
    if before not in (None, type(model).__name__):
        raise _mismatch(f"it holds the model {before}, and this config a {type(model).__name__}")
    state = checkpoint.get("state_dict")
    if not isinstance(state, dict):
        raise _mismatch("it has no state_dict")
    ours, buffers = _shapes(model)
    theirs = {
        n.removeprefix("module."): tuple(v.shape) for n, v in state.items() if hasattr(v, "shape")
    }
    wrong = [
        f"{name} is {theirs.get(name, 'missing')} in the file and {ours.get(name, 'missing')} in the "
        "model"
        for name in (*ours, *(n for n in theirs if n not in ours and n not in buffers))
        if ours.get(name) != theirs.get(name)
    ]
    parameters = {name for name, _ in model.named_parameters()}
    broken = [n for n, value in state.items() if n in parameters and not _is_finite(value)]
    if broken and not wrong:
        raise _mismatch(f"the weight {broken[0]} is not finite")
    if wrong:
        raise _mismatch(f"{len(wrong)} weights differ: {'; '.join(wrong[:3])}")


def _is_finite(value: Any) -> bool:
    return not isinstance(value, Tensor) or bool(value.isfinite().all())


def _shapes(model: nn.Module) -> tuple[dict[str, tuple[int, ...]], set[str]]:
    """Name -> shape of all weights, and names that need not be compared: the buffers of FSDP."""
    sharded = {
        p.whole_name: tuple(p.whole_shape)
        for p in cast(Any, model.parameters())
        if hasattr(p, "whole_name")
    }
    if sharded:
        names = {name.replace("_fsdp_wrapped_module.", "") for name, _ in model.named_buffers()}
        return sharded, names
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}, set()


def _names(runner: Runner) -> dict[int, str]:
    """id of a parameter -> its name."""
    return {id(p): name for name, p in unwrap_model(runner.model).named_parameters()}


def _check_optimizer(optimizer: Any, checkpoint: dict[str, Any], names: dict[int, str]) -> None:
    saved = checkpoint["optimizer"]
    before = (checkpoint.get("meta") or {}).get("optimizer_type") or _optimizer_family(
        saved["param_groups"]
    )
    now = type(optimizer).__name__
    if before not in (None, now, _optimizer_family(optimizer.param_groups)):
        raise _mismatch(f"it holds moments of {before}, and this config trains with {now}")
    sizes = [len(group["params"]) for group in saved["param_groups"]]
    ours = [len(group["params"]) for group in optimizer.param_groups]
    if sizes != ours:
        raise _mismatch(
            f"its optimizer has {len(sizes)} groups of {sum(sizes)} parameters, and that of this "
            f"config {len(ours)} groups of {sum(ours)}"
        )
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, parameter in enumerate(parameters):
        shape = tuple(getattr(parameter, "whole_shape", parameter.shape))
        owner = names.get(id(parameter), f"parameter {index}")
        for name, value in saved["state"].get(index, {}).items():
            if not isinstance(value, Tensor):
                continue
            if not value.isfinite().all():
                raise _mismatch(
                    f"the moment {name} of {owner} is not finite, so it is never updated "
                    "again (resume from an older checkpoint with --resume PATH)"
                )
            if value.ndim and tuple(value.shape) != shape:
                raise _mismatch(
                    f"the moment {name} of {owner} is {tuple(value.shape)}, and the parameter is "
                    f"{shape}"
                )


def _optimizer_family(groups: list[dict[str, Any]]) -> str | None:
    """What the settings of an optimizer tell of its type."""
    keys = groups[0].keys() if groups else ()
    return next((kind for key, kind in (("betas", "Adam"), ("momentum", "SGD")) if key in keys), None)


def _check_rates(runner: Runner, optimizer: Any, groups: list[dict[str, Any]]) -> None:
    """A resumed run keeps the learning rates of its checkpoint, so another one would do nothing."""
    if (runner.cfg.get("auto_scale_lr") or {}).get("enable"):
        return
    for before, now in zip(groups, optimizer.param_groups, strict=True):
        old, new = (group.get("initial_lr", group["lr"]) for group in (before, now))
        if "initial_lr" in before and "initial_lr" in now and abs(old - new) > 1e-6 * abs(old):
            raise _mismatch(
                f"it trains with a learning rate of {old:g}, which a resumed run keeps, and this "
                f"config sets {new:g}"
            )


def _mismatch(reason: str) -> CheckpointMismatch:
    return CheckpointMismatch(
        f"the checkpoint to resume does not fit this config: {reason}. Resume with the config and the "
        "--cfg-options that wrote it, or start a new --work-dir from it with load_from=CHECKPOINT or "
        "--pretrained CHECKPOINT"
    )


def _log_differences(runner: Runner, before: Any) -> None:
    """Compare the text of the configs; what a checkpoint holds is not evaluated."""
    if not isinstance(before, str):
        return
    lines = difflib.unified_diff(
        before.splitlines(), runner.cfg.pretty_text.splitlines(), lineterm="", n=0
    )
    changed = [
        line
        for line in lines
        if not line.startswith(("---", "+++", "@@"))
        and not re.match(rf"[-+]\s*({'|'.join(FREE_SETTINGS)})\s*=", line)
    ]
    if changed:
        runner.logger.warning(
            "resumed with another config than the checkpoint's; - before, + now:\n  "
            + "\n  ".join(changed[:20])
        )
