"""Stops a run whose loss is no number any more, before it is lost."""

import math

from mmengine.hooks import Hook

from mmmim.registry import HOOKS


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Raises when the loss was NaN or infinite `patience` checks in a row.

    Args:
        interval: iterations between checks; a check waits for the GPU.
        patience: checks. float16 skips a step now and then while it looks for a loss scale.
    """

    def __init__(self, interval: int = 50, patience: int = 3) -> None:
        self.interval = interval
        self.patience = patience
        self._failures = 0

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not self.every_n_train_iters(runner, self.interval):
            return
        loss = float(outputs["loss"])
        self._failures = 0 if math.isfinite(loss) else self._failures + 1
        if self._failures >= self.patience:
            raise FloatingPointError(
                f"the loss is {loss} at iteration {runner.iter + 1}, for {self.patience} checks in "
                f"a row. The last good checkpoint is kept in {runner.work_dir}. Resume from it with "
                "one of: a lower learning rate (--cfg-options optim_wrapper.optimizer.lr=...), "
                "gradient clipping (optim_wrapper.clip_grad.max_norm=1.0), bfloat16 instead of "
                "float16 (optim_wrapper.dtype=bfloat16)"
            )
