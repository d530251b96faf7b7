"""Draws what a method sees and predicts, while it trains."""

from pathlib import Path

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook

from mmmim.data.pictures import draw_predictions, save_picture
from mmmim.hooks.method import method_of
from mmmim.registry import HOOKS


@HOOKS.register_module()
class PredictionHook(Hook):
    """Writes `predictions/epoch_N.png` into the work dir.

    Args:
        interval: epochs between pictures; the last epoch always has one.
        images: rows of a picture, taken from the front of the data set.
    """

    def __init__(self, interval: int = 20, images: int = 8) -> None:
        self.interval = interval
        self.images = images

    @master_only
    def after_train_epoch(self, runner) -> None:
        epoch = runner.epoch + 1
        if not (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            return
        model = method_of(runner)
        dataset = runner.train_dataloader.dataset
        batch = [dataset[i]["inputs"] for i in range(min(self.images, len(dataset)))]
        model.eval()
        # The picture's mask must not move the masks that training draws.
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(0)
            picture = draw_predictions(model, torch.stack(batch))
        model.train()
        save_picture(picture, Path(runner.work_dir) / "predictions" / f"epoch_{epoch}.png")
