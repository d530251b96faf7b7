"""Which image comes when."""

from collections.abc import Iterator

import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Dataset, Sampler

from mmmim.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class EpochSampler(Sampler[int]):
    """Shuffles by (seed, epoch), deals to processes in turn, and tells the data set the draw.

    Yields draw * len + index, a draw being an epoch, or one of its `repeats`: a data set that seeds
    its augmentation by this number (such as `UnlabelledImages`) gives the same images whatever the
    number of workers, of processes, and of interruptions. The last samples of an epoch that do not
    fill every process are dropped.

    Args:
        dataset: what is sampled.
        shuffle: whether each epoch has its own order.
        seed: None takes the runner's, the same on all processes.
        repeats: times that an image comes in a row, each time augmented anew (repeated augmentation,
            arXiv 1901.09335). An epoch stays as long: it shows 1 / repeats of the images.
        multiple: a process's share of an epoch is a multiple of this; what is left is dropped.

    Raises:
        ValueError: fewer than one repeat; an epoch that is shorter than `multiple`.
    """

    def __init__(
        self,
        dataset: Dataset,
        shuffle: bool = True,
        seed: int | None = None,
        repeats: int = 1,
        multiple: int = 1,
    ) -> None:
        if repeats < 1:
            raise ValueError(f"repeats must be 1 or more, got {repeats}")
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.share = self.size // self.world_size // multiple * multiple
        if not self.share:
            raise ValueError(
                f"an update takes {multiple} images of each of {self.world_size} processes, and there "
                f"are {self.size} in all: set a smaller train_dataloader.batch_size, with "
                "--auto-scale-lr, or accumulate fewer batches"
            )
        self.shuffle, self.repeats = shuffle, repeats
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        order = torch.arange(self.size)
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(self.size, generator=generator)
        draws = self.epoch * self.repeats + torch.arange(self.repeats)
        order = (order[:, None] + draws * self.size).flatten()[: len(self) * self.world_size]
        yield from order[self.rank :: self.world_size].tolist()

    def __len__(self) -> int:
        return self.share

    def set_epoch(self, epoch: int) -> None:
        """Called by mmengine's DistSamplerSeedHook before each epoch."""
        self.epoch = epoch
