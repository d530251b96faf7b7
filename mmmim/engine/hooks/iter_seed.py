"""Equal random draws on any number of processes, and after a resume."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmmim.data.unlabelled import item_seed
from mmmim.registry import HOOKS


@HOOKS.register_module()
class IterSeedHook(Hook):
    """Seeds every iteration with (seed, iteration), equally on all ranks.

    A resumed run then draws the masks of an uninterrupted one, and each rank takes its rows of one
    global draw (see `mmmim.masking`).
    """

    priority = "VERY_HIGH"

    def before_train(self, runner: Runner) -> None:
        # A resumed run reads its seed from the checkpoint after the data loader was built.
        loader = runner.train_dataloader
        loader.sampler.seed = runner.seed
        loader.dataset.seed = runner.seed

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        torch.manual_seed(item_seed(runner.seed, runner.iter))
