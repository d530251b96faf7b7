"""Draws the panels of a method while it trains."""

from pathlib import Path

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmmim.methods.base import unwrap_model
from mmmim.registry import HOOKS
from mmmim.visualization import draw_panels, save_picture


@HOOKS.register_module()
class PredictionHook(Hook):
    """Writes `predictions/epoch_N.png` into the work dir.

    Args:
        interval: epochs between pictures; the last epoch always gets one.
        images: rows of a picture, taken from the start of the data set.
    """

    calls_model_parts = True

    def __init__(self, interval: int = 20, images: int = 8) -> None:
        self.interval = interval
        self.images = images

    @master_only
    def after_train_epoch(self, runner: Runner) -> None:
        epoch = runner.epoch + 1
        if not (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            return
        model = unwrap_model(runner.model)
        dataset = runner.train_dataloader.dataset
        batch = [dataset[i]["inputs"] for i in range(min(self.images, len(dataset)))]
        model.eval()
        # The mask of the picture must not change the masks that training draws.
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices), torch.no_grad():
            torch.manual_seed(0)
            picture = draw_panels(model.panels(torch.stack(batch)))
        model.train()
        save_picture(picture, Path(runner.work_dir) / "predictions" / f"epoch_{epoch}.png")
