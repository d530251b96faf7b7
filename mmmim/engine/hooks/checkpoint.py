"""Checkpoints that are written before older ones are removed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook as BaseCheckpointHook
from mmengine.runner import Runner

from mmmim.atomic import PARTIAL, write_text
from mmmim.checkpoints.io import verify_file
from mmmim.checkpoints.plain import to_history, to_plain
from mmmim.engine.hooks.deferred_loss import flush_losses
from mmmim.engine.resume import Found, check_fits, set_aside
from mmmim.methods.base import unwrap_model
from mmmim.registry import HOOKS


@HOOKS.register_module()
class CheckpointHook(BaseCheckpointHook):
    """mmengine's CheckpointHook that never leaves a work dir without a whole checkpoint.

    A file is written, read back, and named in `last_checkpoint`; only then are older ones removed.
    Checkpoints of `save_step` (a signal, a time) are removed as soon as a newer one exists. What is
    written passes `torch.load(weights_only=True)`. On resume, a checkpoint of another model, optimizer
    or learning rate is refused before anything is loaded.

    Args:
        kwargs: of mmengine's CheckpointHook. If steps are accumulated, `interval` counts steps and a
            checkpoint waits for the end of the update. With `by_epoch=False`, checkpoints fall on
            multiples of `interval`, also after `save_begin`.

    Raises:
        CheckpointMismatch: a resumed checkpoint does not fit the run.
        DamagedCheckpoint: a file that was written cannot be read back.
    """

    file_backend: Any
    best_ckpt_path: Any
    found = Found()  # what --resume found in the work dir
    _progress: Mapping[str, int] = {}  # epochs and steps of the checkpoint that is being written

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self._is_local = isinstance(self.file_backend, LocalBackend)
        # Names without folders, since a work dir can be moved.
        info = runner.message_hub.runtime_info
        # mmengine's own hook keeps numbers.
        by_number = [self.filename_tmpl.format(step) for step in info.get("keep_ckpt_ids", ())]
        self._kept: list[str] = list(info.get("kept_checkpoints", by_number))
        self._interim: list[str] = list(info.get("interim_checkpoints", ()))
        self._move_best()
        if is_main_process():
            self._tidy(runner)

    def _tidy(self, runner: Runner) -> None:
        """Set damaged and abandoned checkpoints aside, and remove what a kill left half written."""
        for line in set_aside(self.found):
            runner.logger.warning(line)
        if self._is_local:
            for partial in Path(str(self.out_dir)).glob(f"*.pth.*{PARTIAL}"):
                partial.unlink()

    def _move_best(self) -> None:
        """Look for the best checkpoints in this work dir, not in the one that they were written in."""
        if getattr(self, "best_ckpt_path", None):
            self.best_ckpt_path = self._path(Path(str(self.best_ckpt_path)).name)
        for key, path in getattr(self, "best_ckpt_path_dict", {}).items():
            self.best_ckpt_path_dict[key] = path and self._path(Path(path).name)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if self.by_epoch:
            return
        steps = steps_per_update(runner)
        done = runner.iter + 1
        # The first whole update at or after a multiple of the interval.
        is_due = done % steps == 0 and done // self.interval > (done - steps) // self.interval
        if (done >= self.save_begin and is_due) or (self.save_last and self.is_last_train_iter(runner)):
            runner.logger.info(f"Saving checkpoint at {done} iterations")
            self._save_checkpoint(runner)

    def save_step(self, runner: Runner, steps: int) -> str:
        """Write a checkpoint after `steps` steps of the run -> its name. All ranks call it."""
        name = f"iter_{steps}.pth"
        is_interim = name not in self._kept  # a regular one of these steps stays
        self._write(runner, name, dict(epoch=runner.epoch, iter=steps), is_interim)
        return name

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        self._write(runner, self.filename_tmpl.format(step), meta, is_interim=False)

    def _write(self, runner: Runner, name: str, meta: dict[str, Any], is_interim: bool) -> None:
        flush_losses(runner)  # into the log history, which is part of the checkpoint
        for hook in runner.hooks:
            if hasattr(hook, "ensure_healthy"):
                hook.ensure_healthy(runner)
        kept = self._interim if is_interim else self._kept
        if name in kept:
            kept.remove(name)
        kept.append(name)
        obsolete = self._obsolete(name)
        # The new checkpoint lists the files that it makes obsolete too, in case they cannot be removed.
        runner.message_hub.update_info("kept_checkpoints", list(self._kept))
        runner.message_hub.update_info("interim_checkpoints", list(self._interim))
        self.last_ckpt = self._path(name)
        runner.message_hub.update_info("last_ckpt", name)
        self._progress = meta
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        self._progress = {}
        self._kept = [n for n in self._kept if n not in obsolete]
        self._interim = [n for n in self._interim if n not in obsolete]
        if is_main_process():
            self._point_to(runner, name)
            for old in obsolete:
                self._remove(self._path(old))

    def _obsolete(self, newest: str) -> list[str]:
        """Files that need not be kept beside the newest one."""
        interim = [name for name in self._interim if name != newest]
        too_many = self._kept[: -self.max_keep_ckpts] if self.max_keep_ckpts > 0 else []
        return interim + [name for name in too_many if name != newest]

    def _point_to(self, runner: Runner, name: str) -> None:
        path = self._path(name)
        if self._is_local and Path(path).is_file():  # a strategy may write a folder
            verify_file(path)
        inside = Path(path).parent == Path(runner.work_dir)
        write_text(Path(runner.work_dir) / "last_checkpoint", name if inside else path)

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):
            self.file_backend.rmtree(path)

    def _path(self, name: str) -> str:
        return str(self.file_backend.join_path(self.out_dir, name))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        """mmengine's, with the former best checkpoint removed after the new one is written."""
        flush_losses(runner)
        backend, self.file_backend = self.file_backend, _RemovesLater(self.file_backend)
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            later, self.file_backend = self.file_backend.later, backend
        best = {getattr(self, "best_ckpt_path", None)}
        best |= set(getattr(self, "best_ckpt_path_dict", {}).values())
        for path in later:
            if path not in best:
                self._remove(path)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        checkpoint["meta"].update(self._progress)  # FlexibleRunner writes its own
        checkpoint["meta"]["world_size"] = runner.world_size
        checkpoint["meta"]["model_type"] = type(unwrap_model(runner.model)).__name__
        optimizer = getattr(runner.optim_wrapper, "optimizer", None)
        checkpoint["meta"]["optimizer_type"] = optimizer and type(optimizer).__name__
        for key in checkpoint.keys() - {"state_dict"}:
            checkpoint[key] = to_plain(checkpoint[key])
        for name, value in checkpoint["state_dict"].items():
            checkpoint["state_dict"][name] = to_plain(value)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        if not runner._resume:
            return
        check_fits(runner, checkpoint)
        if hub := checkpoint.get("message_hub"):
            hub["log_scalars"] = to_history(hub["log_scalars"])


def steps_per_update(runner: Runner) -> int:
    """Steps whose gradients are accumulated."""
    return getattr(runner.optim_wrapper, "_accumulative_counts", 1)


class _RemovesLater:
    """A file backend that notes what is to be removed."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.later: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        """Note a file."""
        self.later.append(path)

    rmtree = remove
