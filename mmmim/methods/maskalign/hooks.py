"""What watches a run that learns from a teacher: the same teacher after a resume, the alignment."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.dist import master_only
from mmengine.hooks import Hook
from torch import Tensor

from mmmim.data.pictures import save_picture
from mmmim.hooks.method import method_of
from mmmim.registry import HOOKS


@HOOKS.register_module()
class TeacherHook(Hook):
    """Writes the teacher's name and checksum into a checkpoint's `meta`, and compares them on resume.

    The teacher itself is in no checkpoint.
    """

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint["meta"]["teacher"] = method_of(runner).teacher.identity()

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """
        Raises:
            ValueError: a run is resumed that learned from another teacher.
        """
        if not runner._resume or "teacher" not in checkpoint["meta"]:
            return
        before, now = checkpoint["meta"]["teacher"], method_of(runner).teacher.identity()
        if before != now:
            raise ValueError(
                f"this run learned from the teacher {before['name']} with sha256 {before['sha256']}, "
                f"and is resumed with {now['name']}, sha256 {now['sha256']}: resume with the same, or "
                "start a new run from its weights with load_from instead of resume"
            )


@HOOKS.register_module()
class AlignmentHook(Hook):
    """Draws which student layers each teacher layer is aligned with, into `alignment/epoch_N.png`.

    Args:
        interval: epochs between pictures; the last epoch always has one.
    """

    def __init__(self, interval: int = 20) -> None:
        self.interval = interval

    @master_only
    def after_train_epoch(self, runner) -> None:
        epoch = runner.epoch + 1
        alignment = method_of(runner).alignment
        is_due = self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)
        if alignment.weights is None or not is_due:
            return
        path = Path(runner.work_dir) / "alignment" / f"epoch_{epoch}.png"
        draw_alignment(alignment.weights.detach().float().cpu(), alignment.layers, path)


def draw_alignment(weights: Tensor, layers: tuple[int, ...], path: Path) -> None:
    """Write weights (teacher layers, student layers) as a PNG."""
    figure = Figure(figsize=(1 + 0.5 * weights.shape[1], 1.5 + 0.4 * len(layers)), layout="constrained")
    axes = figure.subplots()
    limit = max(weights.abs().max().item(), 1e-6)
    image = axes.imshow(weights.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.set(xlabel="student layer", ylabel="teacher layer", title="dynamic alignment")
    axes.set_xticks(range(weights.shape[1]))
    axes.set_yticks(range(len(layers)), layers)
    figure.colorbar(image)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = torch.tensor(np.asarray(canvas.buffer_rgba())[..., :3])
    save_picture(pixels.permute(2, 0, 1), path)
