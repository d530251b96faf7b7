"""Reports unreadable images at the end of an epoch."""

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmmim.atomic import write_bytes
from mmmim.registry import HOOKS


@HOOKS.register_module()
class BrokenImagesHook(Hook):
    """Logs the number of unreadable images when it grew, and lists them in the work dir.

    The list is rank 0's: each process knows the files of its own workers.
    """

    def __init__(self) -> None:
        self._reported = 0

    @master_only
    def after_train_epoch(self, runner: Runner) -> None:
        broken = runner.train_dataloader.dataset.broken_files()
        if len(broken) == self._reported:
            return
        self._reported = len(broken)
        listing = f"{runner.work_dir}/broken_images.txt"
        lines = "".join(f"{path}\n" for path in broken)
        write_bytes(listing, lines.encode("utf-8", errors="surrogateescape"))
        runner.logger.warning(
            f"{len(broken)} of {len(runner.train_dataloader.dataset)} images cannot be read and "
            f"were skipped, see {listing}"
        )
