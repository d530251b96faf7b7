"""Hooks of a MaskAlign run: the same teacher after a resume, pictures of the alignment."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmmim.atomic import write_bytes
from mmmim.methods.base import unwrap_model
from mmmim.registry import HOOKS
from mmmim.visualization import figure_png


@HOOKS.register_module()
class TeacherHook(Hook):
    """Writes the teacher's name and checksum into the checkpoint's `meta`, and compares them on resume.

    The teacher itself is not saved.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        checkpoint["meta"]["teacher"] = unwrap_model(runner.model).teacher.identity()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare the teacher of a resumed run with that of the checkpoint.

        Raises:
            ValueError: the resumed run learned from another teacher.
        """
        if not runner._resume or "teacher" not in checkpoint["meta"]:
            return
        before = checkpoint["meta"]["teacher"]
        now = unwrap_model(runner.model).teacher.identity()
        if before != now:
            raise ValueError(
                f"the checkpoint was trained with the teacher {before['name']}, sha256 "
                f"{before['sha256']}, and is resumed with {now['name']}, sha256 {now['sha256']}: use "
                "the same teacher, or start a new run with load_from instead of --resume"
            )


@HOOKS.register_module()
class AlignmentHook(Hook):
    """Writes `alignment/epoch_N.png`: the student layers that each teacher layer is aligned with.

    Args:
        interval: epochs between pictures; the last epoch always gets one.
    """

    calls_model_parts = True

    def __init__(self, interval: int = 20) -> None:
        self.interval = interval

    @master_only
    def after_train_epoch(self, runner: Runner) -> None:
        epoch = runner.epoch + 1
        alignment = unwrap_model(runner.model).alignment
        is_due = self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)
        if alignment.weights is None or not is_due:
            return
        path = Path(runner.work_dir) / "alignment" / f"epoch_{epoch}.png"
        draw_alignment(alignment.weights.detach().float().cpu(), alignment.layers, path)


def draw_alignment(weights: Tensor, layers: tuple[int, ...], path: Path) -> None:
    """Write mixing weights (teacher layers, student layers) as a PNG."""
    figure = Figure(figsize=(1 + 0.5 * weights.shape[1], 1.5 + 0.4 * len(layers)), layout="constrained")
    axes = figure.subplots()
    limit = max(weights.abs().max().item(), 1e-6)
    image = axes.imshow(weights.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.set(xlabel="student layer", ylabel="teacher layer", title="dynamic alignment")
    axes.set_xticks(range(weights.shape[1]))
    axes.set_yticks(range(len(layers)), [str(layer) for layer in layers])
    figure.colorbar(image)
    write_bytes(path, figure_png(figure))
