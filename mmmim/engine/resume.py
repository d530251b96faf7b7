"""Which checkpoint a run continues, and whether it fits."""

import difflib
import logging
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any, cast

import mmengine.runner
from mmengine import Config
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner, _flexible_runner, checkpoint, runner
from torch import Tensor, nn

from mmmim.checkpoints import CheckpointMismatch, DamagedCheckpoint, read_file
from mmmim.engine.distribution import launched_rank
from mmmim.methods.base import unwrap_model

# Suffix that a damaged checkpoint is renamed with.
DAMAGED = ".damaged"
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


def find_newest_whole(folder: Path) -> tuple[Path | None, list[str]]:
    """The checkpoint with the most iterations that is whole -> its path, and lines for the log.

    Damaged ones that are newer are renamed to `*.pth.damaged`, so that they are not tried again. The
    file `last_checkpoint` is not read: it may be lost, empty, or name a place that the folder was moved
    from.

    Raises:
        DamagedCheckpoint: there are checkpoints of a run, and none is whole.
        UntrustedCheckpoint: the newest one holds objects that would run code.
    """
    series: dict[str, list[Path]] = defaultdict(list)
    for path in list_checkpoints(folder):
        numbered = re.fullmatch(r"(.*?)(\d+)", path.stem)
        if numbered and not path.name.startswith("best_"):
            series[numbered[1]].append(path)
    found: list[tuple[int, Path]] = []
    damaged: dict[Path, str] = {}
    for paths in series.values():
        for path in sorted(paths, key=_number, reverse=True):
            try:
                meta = read_file(path).get("meta") or {}
            except DamagedCheckpoint as error:
                damaged[path] = str(error)
                continue
            if type(meta.get("iter")) is int:  # else weights alone
                found.append((meta["iter"], path))
                break
    if damaged and not found:
        reason = next(iter(damaged.values()))
        raise DamagedCheckpoint(
            f"no checkpoint of '{folder}' is whole: {', '.join(p.name for p in damaged)}. {reason}. "
            "Start anew in another --work-dir"
        )
    newest = max(found)[1] if found else None
    lines = []
    for path, reason in damaged.items():
        _set_aside(path)
        lines.append(f"{reason}. It is renamed to {path.name}{DAMAGED}, and '{newest}' is continued")
    return newest, lines


def install_search() -> None:
    """Let mmengine's own `--resume` continue the newest whole checkpoint too."""

    def find_latest_checkpoint(path: str) -> str | None:
        newest, lines = find_newest_whole(Path(path))
        for line in lines:
            print_log(line, "current", logging.WARNING)
        return None if newest is None else str(newest)

    # These modules have imported it by name.
    for module in (checkpoint, runner, _flexible_runner, mmengine.runner):
        module.find_latest_checkpoint = find_latest_checkpoint  # type: ignore[attr-defined]


def _number(path: Path) -> int:
    return int(re.findall(r"\d+", path.stem)[-1])


def _set_aside(path: Path) -> None:
    if launched_rank() == 0:
        os.replace(path, path.with_name(path.name + DAMAGED))


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
        _check_optimizer(optimizer, checkpoint)
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
    if not wrong and (broken := [name for name, value in state.items() if not _is_finite(value)]):
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


def _check_optimizer(optimizer: Any, checkpoint: dict[str, Any]) -> None:
    saved = checkpoint["optimizer"]
    before = (checkpoint.get("meta") or {}).get("optimizer_type") or _kind(saved["param_groups"])
    now = type(optimizer).__name__
    if before not in (None, now, _kind(optimizer.param_groups)):
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
        for name, value in saved["state"].get(index, {}).items():
            if not isinstance(value, Tensor):
                continue
            if not value.isfinite().all():
                raise _mismatch(
                    f"the moment {name} of parameter {index} is not finite, so it is never updated "
                    "again (resume from an older checkpoint with --resume PATH)"
                )
            if value.ndim and tuple(value.shape) != shape:
                raise _mismatch(
                    f"the moment {name} of parameter {index} is {tuple(value.shape)}, and the "
                    f"parameter {shape}"
                )


def _kind(groups: list[dict[str, Any]]) -> str | None:
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
        and not any(f"{name}=" in line or f"{name} =" in line for name in FREE_SETTINGS)
    ]
    if changed:
        runner.logger.warning(
            "resumed with another config than the checkpoint's; - before, + now:\n  "
            + "\n  ".join(changed[:20])
        )
