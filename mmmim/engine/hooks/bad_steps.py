"""Bad batches and bad numbers: a step is skipped and named, a run goes back to a good checkpoint."""

import json
import math
import statistics
import warnings
from collections import deque
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor

from mmmim.checkpoints import DamagedCheckpoint, UntrustedCheckpoint
from mmmim.engine.hooks.checkpoint import steps_per_update
from mmmim.engine.hooks.deferred_loss import DeferredLossHook, Record
from mmmim.engine.resume import checkpoint_folder, find_newest_whole
from mmmim.engine.step_guard import StepGuard, is_healthy
from mmmim.methods.base import unwrap_model
from mmmim.registry import HOOKS

LISTED = 8  # files of a batch that the log names; all are in the list
RECENT, BEFORE = 20, 500  # steps whose losses are compared
ENOUGH = 100  # steps before the recent ones, below which nothing is compared
LIST = "skipped_steps.jsonl"  # in the work dir


@HOOKS.register_module()
class BadStepHook(Hook):
    """Skips updates that are not finite, logs their images, and reloads the last checkpoint if need be.

    The device decides (see `StepGuard`); the log learns of it when losses are logged, so no step
    waits. `skipped_steps.jsonl` in the work dir lists every skipped step with its images;
    `mmmim replay WORK_DIR STEP` runs one again.

    When `patience` updates in a row are skipped, when the mean loss of 20 steps is more than `band`
    times the median of the 500 steps before, or when a weight or moment is not finite at a checkpoint,
    weights and moments of the last good checkpoint are loaded and training goes on with the next batch,
    at the learning rate of its step.

    Args:
        patience: updates in a row. float16 skips some at the start, while it adapts its loss scale.
        band: largest growth of the loss; None compares nothing.
        rollbacks: how often a run goes back before it stops.
    """

    priority = "VERY_LOW"

    def __init__(self, patience: int = 20, band: float | None = 5.0, rollbacks: int = 3) -> None:
        self.patience, self.band, self.rollbacks = patience, band, rollbacks
        self._in_a_row = 0
        self._losses: deque[float] = deque(maxlen=RECENT + BEFORE)
        self._files: dict[int, list[str]] = {}
        self._guard: StepGuard | None = None

    def before_train(self, runner: Runner) -> None:
        if not isinstance(runner.optim_wrapper, OptimWrapper):
            runner.logger.warning("BadStepHook guards a single optimizer: this run has several")
            return
        self._guard = StepGuard(runner.optim_wrapper, unwrap_model(runner.model))
        for hook in runner.hooks:
            if isinstance(hook, DeferredLossHook):
                hook.watcher = self

    def after_train(self, runner: Runner) -> None:
        if self._guard is not None:
            self._guard.remove()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        if files := _labelled_files(data_batch):
            self._files[runner.iter] = files

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        # mmengine logs the norm of clipped gradients itself, NaN included.
        norms = runner.message_hub.log_scalars.get("train/grad_norm")
        if norms is not None and not math.isfinite(norms.current()):
            norms._log_history, norms._count_history = (kept[:-1] for kept in norms.data)

    def measure(self) -> Tensor:
        """(2,): whether the step was skipped, and the squared norm of its gradients."""
        if self._guard is None:
            return torch.zeros(2)
        return torch.stack([self._guard.skipped, self._guard.squared_norm])

    def is_skipped(self, record: Record) -> bool:
        """Whether the update of the step was skipped."""
        return bool(record.measured[0])

    def see(self, runner: Runner, records: list[Record]) -> None:
        """Act on the steps that were logged. All ranks call it with the same steps.

        Raises:
            FloatingPointError: there is nothing to go back to, or the run went back too often.
        """
        if self._guard is None:
            return
        for record in records:
            loss, (skipped, squared_norm) = record.mean.get("loss", 0.0), record.measured
            last = record.iteration + 1 == runner.max_iters
            if (record.iteration + 1) % steps_per_update(runner) == 0 or last:
                self._in_a_row = self._in_a_row + 1 if skipped else 0
                if skipped:
                    self._report(runner, record, loss, squared_norm)
            if math.isfinite(loss):
                self._losses.append(loss)
        done = max((record.iteration for record in records), default=0)
        first = done + 1 - steps_per_update(runner)  # of the update that is not complete
        self._files = {i: names for i, names in self._files.items() if i > first}
        if self._in_a_row >= self.patience:
            self._go_back(runner, f"{self._in_a_row} updates in a row are not finite")
        elif reason := self._leaves_band():
            # Checkpoints of the last steps may hold weights that already diverged.
            self._go_back(runner, reason, most=done - RECENT)

    def _leaves_band(self) -> str | None:
        losses = list(self._losses)
        if self.band is None or len(losses) < RECENT + ENOUGH:
            return None
        now, before = statistics.mean(losses[-RECENT:]), statistics.median(losses[:-RECENT])
        if now <= self.band * before or before <= 0:
            return None
        return f"the loss of {RECENT} steps is {now:.4g}, and was {before:.4g} before"

    def _report(self, runner: Runner, record: Record, loss: float, squared_norm: float) -> None:
        """Name the images of a skipped step: those of ranks whose loss was not finite, else all."""
        steps = range(record.iteration + 1 - steps_per_update(runner), record.iteration + 1)
        files = [f for i in steps for f in self._files.get(i) or unlabelled_files(runner, i)]
        is_bad = not all(math.isfinite(value) for value in record.own.values())
        ranks = all_gather_object((is_bad, files))
        chosen = [names for bad, names in ranks if bad] or [names for _, names in ranks]
        names = [name for rank in chosen for name in rank]
        norm = math.sqrt(squared_norm) if squared_norm >= 0 else math.nan
        reason = f"the gradient norm is {norm:.3g}" if math.isfinite(loss) else f"the loss is {loss}"
        if is_main_process():
            with (Path(runner.work_dir) / LIST).open("a", encoding="utf-8") as file:
                bad = next((rank for rank, (is_bad, _) in enumerate(ranks) if is_bad), 0)
                line = dict(step=record.iteration, reason=reason, rank=bad, files=names)
                file.write(json.dumps(line) + "\n")
        more = f" and {len(names) - LISTED} more (see {LIST})" if len(names) > LISTED else ""
        runner.logger.warning(
            f"step {record.iteration} is skipped: {reason}. Its images: "
            f"{', '.join(names[:LISTED]) or 'unknown'}{more}. Look at it with: mmmim replay "
            f"{runner.work_dir} {record.iteration}"
        )

    def ensure_healthy(self, runner: Runner) -> None:
        """Go back if a weight or moment is not healthy, before a checkpoint. All ranks call it.

        Raises:
            FloatingPointError: see `see`.
        """
        optimizer = getattr(runner.optim_wrapper, "optimizer", None)
        if optimizer is None:
            return
        models = [unwrap_model(runner.model), *(hook.ema_model for hook in _averages(runner))]
        if not all(is_healthy(model, optimizer) for model in models):
            self._go_back(runner, "a weight or a moment is not finite, or too large to be squared")

    def _go_back(self, runner: Runner, reason: str, most: float = math.inf) -> None:
        """Load weights and moments of the newest checkpoint of at most `most` steps."""
        made = list(runner.message_hub.runtime_info.get("rollbacks", ()))
        if len(made) >= self.rollbacks or hasattr(runner, "strategy"):
            raise self._end(runner, reason, made)
        path, checkpoint = _last_good(runner, min(most, runner.iter))
        if path is None:
            raise self._end(runner, reason, [*made, "there is no checkpoint to go back to"])
        _load_weights(runner, checkpoint)
        optimizer = runner.optim_wrapper.optimizer
        # The learning rates stay those of this step.
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict(dict(state=checkpoint["optimizer"]["state"], param_groups=groups))
        if self._guard is not None:
            self._guard.accept()
        done = checkpoint["meta"]["iter"]
        made.append(f"at step {runner.iter}, {reason}: back to {path.name}")
        runner.message_hub.update_info("rollbacks", made)
        self._in_a_row = 0
        self._losses.clear()
        runner.logger.warning(
            f"{reason}: weights and moments of '{path}' are loaded, and the images of steps {done} to "
            f"{runner.iter} are not repeated. Went back {len(made)} of at most {self.rollbacks} times"
        )

    def _end(self, runner: Runner, reason: str, made: list[str]) -> FloatingPointError:
        tried = "; ".join(made) or "nothing, since rollbacks=0"
        if hasattr(runner, "strategy"):
            tried = "with --fsdp a run does not go back by itself"
        return FloatingPointError(
            f"{reason}, at step {runner.iter}. Tried: {tried}. The checkpoints in "
            f"'{checkpoint_folder(runner.cfg)}' are finite, and {LIST} lists the images of skipped "
            "steps. Continue with --resume and one of these --cfg-options: "
            "optim_wrapper.clip_grad.max_norm=1.0 (gradient clipping), optim_wrapper.dtype=bfloat16 "
            "(instead of float16), or optim_wrapper.type=OptimWrapper (float32). A resumed run keeps "
            "its learning rate: for a lower one start a new --work-dir with --cfg-options "
            "load_from=CHECKPOINT optim_wrapper.optimizer.lr=LR"
        )


@HOOKS.register_module()
def NonFiniteLossHook(interval: int = 50, patience: int = 3) -> BadStepHook:
    """The hook that BadStepHook replaces; its arguments have no counterpart."""
    warnings.warn(
        "the type 'NonFiniteLossHook' is now called 'BadStepHook' and has other arguments; change the "
        "config, the old name will be removed in the next release",
        FutureWarning,
        stacklevel=2,
    )
    return BadStepHook()


def _last_good(runner: Runner, most: float) -> tuple[Path | None, dict[str, Any]]:
    """The newest whole checkpoint of the run that has moments."""
    try:
        found = find_newest_whole(checkpoint_folder(runner.cfg), most)
    except (DamagedCheckpoint, UntrustedCheckpoint):
        return None, {}
    return (found.path, found.content) if "optimizer" in found.content else (None, {})


def _averages(runner: Runner) -> list[EMAHook]:
    return [hook for hook in runner.hooks if isinstance(hook, EMAHook)]


def _load_weights(runner: Runner, checkpoint: dict[str, Any]) -> None:
    """Load the weights that were trained, and their averages.

    With EMAHook, `state_dict` holds the averages and `ema_state_dict` the weights
    (mmengine hooks/ema_hook.py:before_save_checkpoint).
    """
    weights = checkpoint["state_dict"]
    if "ema_state_dict" in checkpoint:
        prefix = "module."
        stored = checkpoint["ema_state_dict"]
        weights = {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}
    unwrap_model(runner.model).load_state_dict(weights)
    for hook in _averages(runner):
        hook.ema_model.module.load_state_dict(checkpoint["state_dict"])


def _labelled_files(batch: Any) -> list[str]:
    """The image files of a labelled batch; empty for others."""
    samples = batch.get("data_samples") if isinstance(batch, dict) else None
    if not isinstance(samples, (list, tuple)):
        return []
    return [str(sample.img_path) for sample in samples if hasattr(sample, "img_path")]


def unlabelled_files(runner: Runner, iteration: int) -> list[str]:
    """The image files of a step of pretraining on this rank; empty for other data sets."""
    dataset: Any = runner.train_dataloader.dataset
    if not hasattr(dataset, "file"):
        return []
    return [str(dataset.file(draw % len(dataset))) for draw in draws_of_step(runner, iteration)]


def draws_of_step(runner: Runner, iteration: int) -> list[int]:
    """The samples of a step on this rank; empty if the sampler is not EpochSampler."""
    loader = runner.train_dataloader
    sampler: Any = loader.sampler
    if not hasattr(sampler, "draws_of"):
        return []
    epoch, index = divmod(iteration, len(loader))
    return sampler.draws_of(epoch)[index * loader.batch_size : (index + 1) * loader.batch_size]
