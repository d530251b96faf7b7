"""Which image comes when."""

from collections.abc import Iterator

import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Dataset, Sampler

from mmmim.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class EpochSampler(Sampler[int]):
    """Shuffles by (seed, epoch), deals to processes in turn, and tells the data set the epoch.

    Yields epoch * len + index: a data set that seeds its augmentation by this number (such as
    `UnlabelledImages`) gives the same images whatever the number of workers, of processes, and
    of interruptions. The last samples of an epoch that do not fill every process are dropped.

    Args:
        dataset: what is sampled.
        shuffle: whether each epoch has its own order.
        seed: None takes the runner's, the same on all processes.
    """

    def __init__(self, dataset: Dataset, shuffle: bool = True, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        order = torch.arange(self.size)
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(self.size, generator=generator)
        order = order[: len(self) * self.world_size]
        yield from (order[self.rank :: self.world_size] + self.epoch * self.size).tolist()

    def __len__(self) -> int:
        return self.size // self.world_size

    def set_epoch(self, epoch: int) -> None:
        """Called by mmengine's DistSamplerSeedHook before each epoch."""
        self.epoch = epoch
