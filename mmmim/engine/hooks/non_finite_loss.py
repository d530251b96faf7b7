"""Stops a run whose loss is no number any more, before it is lost."""

import math

from mmengine.hooks import Hook

from mmmim.registry import HOOKS


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Raises when the loss was NaN or infinite `patience` checks in a row, or a weight is.

    A checkpoint with such a weight is not written, so the last one in the work dir is good.

    Args:
        interval: iterations between checks of the last value that was logged; where nothing was since
            (see `LossLogHook`), nothing is checked.
        patience: checks. float16 skips a step now and then while it looks for a loss scale.
    """

    def __init__(self, interval: int = 50, patience: int = 3) -> None:
        self.interval = interval
        self.patience = patience
        self._failures = 0
        self._seen = None

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not self.every_n_train_iters(runner, self.interval):
            return
        logged = runner.message_hub.log_scalars.get("train/loss")
        if logged is None or logged.data[0] is self._seen:  # a value more makes another array
            return
        self._seen, loss = logged.data[0], logged.current()
        self._failures = 0 if math.isfinite(loss) else self._failures + 1
        if self._failures >= self.patience:
            self._stop(runner, f"the loss is {loss} for {self.patience} checks in a row")

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        for name, value in checkpoint["state_dict"].items():
            if value.is_floating_point() and not value.isfinite().all():
                self._stop(runner, f"the weight {name} is not finite")

    def _stop(self, runner, reason: str) -> None:
        raise FloatingPointError(
            f"{reason}, at iteration {runner.iter + 1}. The last good checkpoint is kept in "
            f"{runner.work_dir}. Resume from it with --cfg-options and clipping "
            "(optim_wrapper.clip_grad.max_norm=1.0), or bfloat16 instead of float16 "
            "(optim_wrapper.dtype=bfloat16). A resumed run keeps its learning rate: a lower one "
            "(optim_wrapper.optimizer.lr=...) wants another --work-dir, and load_from=that checkpoint"
        )
