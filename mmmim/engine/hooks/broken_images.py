"""Says at the end of an epoch which images could not be read."""

from mmengine.dist import master_only
from mmengine.hooks import Hook

from mmmim.registry import HOOKS


@HOOKS.register_module()
class BrokenImagesHook(Hook):
    """Logs the number of unreadable images when it grew, and lists them in the work dir.

    Each process lists what its own workers met; this is the first one's list.
    """

    def __init__(self) -> None:
        self._told = 0

    @master_only
    def after_train_epoch(self, runner) -> None:
        broken = runner.train_dataloader.dataset.broken_files()
        if len(broken) == self._told:
            return
        self._told = len(broken)
        listing = f"{runner.work_dir}/broken_images.txt"
        with open(listing, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(f"{path}\n" for path in broken)
        runner.logger.warning(
            f"{len(broken)} of {len(runner.train_dataloader.dataset)} images cannot be read and "
            f"were skipped; they are listed in {listing}"
        )
