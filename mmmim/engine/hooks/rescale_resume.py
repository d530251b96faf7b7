"""Resuming in other batches, or processes, where an epoch has another number of steps."""

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmmim.registry import HOOKS


@HOOKS.register_module()
class ResumedStepsHook(Hook):
    """Counts what a checkpoint did in the steps of the run that goes on from it.

    mmengine restores the iteration and the schedules as they were counted: half the processes have
    twice the steps an epoch, and the learning rate would be at its end after half of them.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
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
            _counted(scheduler, meta["epoch"] if scheduler.by_epoch else meta["iter"], old)
            for scheduler, old in zip(
                runner.param_schedulers, checkpoint["param_schedulers"], strict=True
            )
        ]
        runner.logger.warning(
            f"an epoch had {before} steps, and has {now}: goes on at iteration {meta['iter']} of epoch "
            f"{meta['epoch']}, the schedules are counted anew"
        )


def _counted(scheduler, steps: int, old: dict) -> dict:
    """The state of a scheduler after `steps` (mmengine optim/scheduler/param_scheduler.py:step)."""
    last = min(steps, scheduler.end - 1) - scheduler.begin if steps >= scheduler.begin else -1
    return {
        **scheduler.state_dict(),
        "_global_step": steps,
        "last_step": last,
        "_last_value": old["_last_value"],
    }
