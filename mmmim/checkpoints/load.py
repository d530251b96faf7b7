"""Start a backbone from a checkpoint, with a one-line report."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from mmmim.checkpoints.formats import convert
from mmmim.checkpoints.formats.base import State
from mmmim.checkpoints.io import read_checkpoint
from mmmim.layers.attention import resize_offsets
from mmmim.layers.tokens import resample_abs_pos_embed
from mmmim.registry import WEIGHT_INITIALIZERS

# Parameters that transfer adds to a pretrained backbone; they may be newly initialized.
NEW_IN_TRANSFER = (
    r"blocks3?\.\d+\.(attn\.relative_position\.\w+|ls[12]\.gamma)"
    r"|(window|global)_position\.table|norm[012]\.\w+"
)


class CheckpointMismatch(ValueError):
    """The checkpoint does not fit the model."""


@dataclass
class LoadReport:
    """What happened to each parameter.

    Attributes:
        total: number of parameters and buffers of the module.
        loaded: names that got a value, including `resized`.
        resized: names whose value was resized.
        new: names that keep their initialization, as transfer allows.
        unused: keys of the checkpoint that the module does not have.
    """

    total: int
    loaded: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"loaded {len(self.loaded)} of {self.total}, resized {len(self.resized)}, "
            f"new: {_shorten(self.new)}, unused: {_shorten(self.unused)}"
        )


@WEIGHT_INITIALIZERS.register_module()
class PretrainedBackbone:
    """`init_cfg=dict(type="mmmim.PretrainedBackbone", checkpoint=PATH)` of a backbone.

    Args:
        checkpoint: a file of any format that `mmmim.checkpoints` knows.
    """

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def __call__(self, module: nn.Module) -> None:
        report = load_backbone(module, self.checkpoint)
        print_log(f"{self.checkpoint}: {report}", logger="current")


def convert_file(path: str | Path) -> tuple[State, list[str]]:
    """`convert` the weights of a file; errors name it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no checkpoint, or one that `convert` refuses.
    """
    return convert_weights(read_checkpoint(path), path)


def convert_weights(state: State, path: str | Path) -> tuple[State, list[str]]:
    """`convert` the weights that were read from a file; errors name it.

    Raises:
        ValueError: `convert` refuses them.
    """
    try:
        return convert(state)
    except ValueError as error:
        raise ValueError(f"'{path}': {error}") from error
    except (LookupError, RuntimeError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"'{path}': its weights have names or shapes of no model: {reason}") from error


def load_backbone(module: nn.Module, checkpoint: str) -> LoadReport:
    """Load `backbone.*` of a checkpoint file into a backbone, resizing tables of positions.

    Raises:
        FileNotFoundError: no such file.
        ValueError: unknown format.
        CheckpointMismatch: a parameter that pretraining trains is missing, or has another shape.
    """
    state, left_out = convert_file(checkpoint)
    prefix = "backbone."
    source = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    target = module.state_dict()
    report = LoadReport(total=len(target))
    missing: list[str] = []
    misfits: list[str] = []
    values: dict[str, Tensor] = {}
    for name, current in target.items():
        if name not in source:
            (report.new if re.fullmatch(NEW_IN_TRANSFER, name) else missing).append(name)
            continue
        value = _fit(name, source[name], current)
        if value is None:
            misfits.append(f"{name}: {tuple(source[name].shape)} for {tuple(current.shape)}")
            continue
        values[name] = value
        report.loaded.append(name)
        if value.shape != source[name].shape:
            report.resized.append(name)
    report.unused = [name for name in source if name not in target] + left_out
    if any(name.endswith("ls1.gamma") for name in report.unused):
        raise CheckpointMismatch(
            f"'{checkpoint}' has weights of LayerScale, and without them the encoder's output changes: "
            "set the backbone's layer_scale=1.0"
        )
    if missing and not misfits and all(name.startswith("norm.") for name in missing):
        raise CheckpointMismatch(
            f"'{checkpoint}' has no final norm, since it was trained without one (MaskAlign, ViTDet): "
            "set the backbone's final_norm=False"
        )
    if missing or misfits:
        raise CheckpointMismatch(
            f"'{checkpoint}' does not fit {type(module).__name__} ({report}). "
            f"Missing: {_shorten(missing)}. Of another shape: {_shorten(misfits)}. "
            "Set the backbone's type, arch and patch_size to those of the checkpoint"
        )
    module.load_state_dict(values, strict=False)
    return report


def position_grid(checkpoint: str) -> int | None:
    """Side in patches of the position table in a ViT's checkpoint file; None if it has none.

    Raises:
        FileNotFoundError: no such file.
        ValueError: unknown format.
    """
    state, _ = convert_file(checkpoint)
    table = state.get("backbone.pos_embed")
    found = None if table is None else _grid(table.shape[1])
    return found and found[1]


def _fit(name: str, value: Tensor, current: Tensor) -> Tensor | None:
    """`value` in the shape of `current`, or None if it cannot be resized to it."""
    if value.shape == current.shape:
        return value
    if value.ndim != current.ndim or value.shape[-1] != current.shape[-1]:
        return None
    if name in ("pos_embed", "absolute_pos_embed"):
        return _resize_pos_embed(value, current.shape[1])
    if name.endswith((".rel_pos_h", ".rel_pos_w")):  # as detectron2 resizes them on the fly
        size = current.shape[0]
        return F.interpolate(value.T[None].float(), size=size, mode="linear")[0].T
    if name.endswith((".relative_position.table", "_position.table")):
        return _resize_offsets(value, current.shape[0])
    return None


def _resize_offsets(value: Tensor, rows: int) -> Tensor | None:
    """The table of a square `RelativePositionBias` -> the same with `rows` rows, or None."""
    old, new = _offset_grid(len(value)), _offset_grid(rows)
    if old is None or new is None or old[0] != new[0]:
        return None
    (cls, old_side), (_, new_side) = old, new
    offsets = resize_offsets(value[: len(value) - cls], (old_side, old_side), (new_side, new_side))
    return torch.cat([offsets, value[len(value) - cls :]])


def _offset_grid(rows: int) -> tuple[int, int] | None:
    """(rows of the class token, side of the map) of a table with `rows` rows, or None."""
    for cls in (0, 3):
        side = (math.isqrt(rows - cls) + 1) // 2
        if (2 * side - 1) ** 2 + cls == rows:
            return cls, side
    return None


def _resize_pos_embed(value: Tensor, length: int) -> Tensor | None:
    """(1, [1 +] n * n, D), the class token first, -> (1, length, D); None if it is not square."""
    old, new = _grid(value.shape[1]), _grid(length)
    if old is None or new is None:
        return None
    (old_cls, old_side), (new_cls, new_side) = old, new
    patches = resample_abs_pos_embed(value[:, old_cls:], (old_side, old_side), (new_side, new_side))
    if not new_cls:
        return patches
    return torch.cat([value[:, :1] if old_cls else torch.zeros_like(value[:, :1]), patches], dim=1)


def _grid(length: int) -> tuple[int, int] | None:
    """(rows of the class token, side) of a square position table; None for another length."""
    side = int(length**0.5)
    cls = length - side * side
    return (cls, side) if cls in (0, 1) else None


def _shorten(names: list[str], limit: int = 4) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
