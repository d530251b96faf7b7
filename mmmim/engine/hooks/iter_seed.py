"""The same losses whatever the number of processes, and after a resume."""

import torch
from mmengine.hooks import Hook

from mmmim.data.unlabelled import item_seed
from mmmim.registry import HOOKS


@HOOKS.register_module()
class ReproducibilityHook(Hook):
    """Seeds every iteration by its number, alike on all processes.

    A mask is then a function of (seed, iteration), not of what ran before: a resumed run draws
    what an uninterrupted one draws, and `random_mask` takes each process its rows of one draw.
    """

    priority = "VERY_HIGH"

    def before_train(self, runner) -> None:
        # A resumed run learns its seed from the checkpoint, after its data loader was built.
        loader = runner.train_dataloader
        loader.sampler.seed = runner.seed
        loader.dataset.seed = runner.seed

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        torch.manual_seed(item_seed(runner.seed, runner.iter))
