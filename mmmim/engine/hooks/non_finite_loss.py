"""Stops a run whose loss is NaN or infinite before its last good checkpoint is lost."""

import math
from typing import Any, NoReturn

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmmim.registry import HOOKS


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Raises when the loss is NaN or infinite in `patience` consecutive checks, or a weight is.

    A checkpoint with such a weight is not written, so the last one in the work dir is good.

    Args:
        interval: iterations between checks of the last logged value; nothing is checked if no value was
            logged since (see `DeferredLossHook`).
        patience: number of checks. float16 skips a step now and then while it adapts its loss scale.
    """

    def __init__(self, interval: int = 50, patience: int = 3) -> None:
        self.interval = interval
        self.patience = patience
        self._failures = 0
        self._seen = None

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if not self.every_n_train_iters(runner, self.interval):
            return
        logged = runner.message_hub.log_scalars.get("train/loss")
        if logged is None or logged.data[0] is self._seen:  # a new value makes a new array
            return
        self._seen, loss = logged.data[0], logged.current()
        self._failures = 0 if math.isfinite(loss) else self._failures + 1
        if self._failures >= self.patience:
            self._stop(runner, f"the loss is {loss} in {self.patience} consecutive checks")

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        for name, value in checkpoint["state_dict"].items():
            if value.is_floating_point() and not value.isfinite().all():
                self._stop(runner, f"the weight {name} is not finite")

    def _stop(self, runner: Runner, reason: str) -> NoReturn:
        raise FloatingPointError(
            f"{reason}, at iteration {runner.iter + 1}. The checkpoints in '{runner.work_dir}' are "
            "finite. If there is one, run the command again with --resume and one of these "
            "--cfg-options: optim_wrapper.clip_grad.max_norm=1.0 (gradient clipping), "
            "optim_wrapper.dtype=bfloat16 (instead of float16), or optim_wrapper.type=OptimWrapper "
            "(float32). A resumed run keeps its learning rate: for a lower one start a new --work-dir "
            "with --cfg-options load_from=CHECKPOINT optim_wrapper.optimizer.lr=LR"
        )
