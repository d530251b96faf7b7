"""The training loop by epochs, which goes on in the middle of an epoch."""

from collections.abc import Iterator
from typing import Any

from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import DataLoader

from mmmim.registry import LOOPS


@LOOPS.register_module()
class EpochTrainLoop(EpochBasedTrainLoop):
    """mmengine's EpochBasedTrainLoop that continues a checkpoint of any step with the next batch.

    mmengine's begins the epoch again, with the iteration of the checkpoint. The batches before are not
    read. A checkpoint of the last step of an epoch continues with the end of that epoch.
    """

    def run_epoch(self) -> None:
        """Train the rest of an epoch."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        start = self._iter - self._epoch * len(self.dataloader)
        for index, batch in enumerate(skip_batches(self.dataloader, start), start):
            self.run_iter(index, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1


def skip_batches(loader: DataLoader, count: int) -> Iterator[Any]:
    """The batches of an epoch after the first `count`, which are not read."""
    if count >= len(loader):
        return
    if count:
        batches = _SkipFirst(loader.batch_sampler, count)
        # A data loader refuses a new sampler by `setattr`, although nothing was drawn from it yet.
        object.__setattr__(loader, "batch_sampler", batches)
    yield from loader


class _SkipFirst:
    """A batch sampler whose first epoch starts later."""

    def __init__(self, batches: Any, count: int) -> None:
        self._batches, self._count = batches, count

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self._batches)
        for _ in range(self._count):
            next(batches)
        self._count = 0
        yield from batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)
