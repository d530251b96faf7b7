"""Resuming with another batch size or number of processes, so another number of steps per epoch."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmmim.registry import HOOKS


@HOOKS.register_module()
class RescaleResumeHook(Hook):
    """Converts the iteration and the schedules of a checkpoint to the steps of the resumed run.

    mmengine restores them unchanged: with half the processes an epoch has twice the steps, and the
    learning rate would reach its end after half of them.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        info = checkpoint.get("message_hub", {}).get("runtime_info", {})
        if not runner._resume or not info.get("max_epochs"):
            return
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            return
        before, now = info["max_iters"] // info["max_epochs"], len(runner.train_dataloader)
        if before == now:
            return
        meta = checkpoint["meta"]
        meta["iter"] = meta["iter"] * now // before
        checkpoint["param_schedulers"] = [
            _advanced(scheduler, meta["epoch"] if scheduler.by_epoch else meta["iter"], old)
            for scheduler, old in zip(
                runner.param_schedulers, checkpoint["param_schedulers"], strict=True
            )
        ]
        runner.logger.warning(
            f"an epoch had {before} steps and now has {now}: resuming at iteration {meta['iter']} of "
            f"epoch {meta['epoch']}, with the schedules rescaled"
        )


def _advanced(scheduler: Any, steps: int, old: dict[str, Any]) -> dict[str, Any]:
    """The state of a scheduler after `steps` (mmengine optim/scheduler/param_scheduler.py:step)."""
    last = min(steps, scheduler.end - 1) - scheduler.begin if steps >= scheduler.begin else -1
    return {
        **scheduler.state_dict(),
        "_global_step": steps,
        "last_step": last,
        "_last_value": old["_last_value"],
    }
