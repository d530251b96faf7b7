"""The order of the images over epochs and processes."""

from collections.abc import Iterator
from typing import Any

import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mmmim.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class EpochSampler(Sampler[int]):
    """Shuffles by (seed, epoch), and gives sample j of the order to process j % world_size.

    Yields draw * len(dataset) + index, where `draw` numbers the epochs or, with `repeats`, all repeats
    of all epochs. A data set that seeds its augmentation by this number (such as `UnlabelledImages`)
    gives the same images for any number of workers, processes and interruptions. Samples at the end
    of an epoch that do not fill every process are dropped.

    Args:
        dataset: a data set with a length.
        shuffle: whether each epoch has its own order.
        seed: default is the seed of the run, which mmengine passes; None draws one for all processes.
        repeats: how often an image is repeated in a row, each time with another augmentation (repeated
            augmentation, arXiv 1901.09335). The length of an epoch stays the same, so that it shows
            1 / repeats of the images.
        multiple: the samples per process and epoch are rounded down to a multiple of this.

    Raises:
        ValueError: `repeats` is below 1; an epoch has fewer than `multiple` samples per process.
    """

    def __init__(
        self,
        dataset: Any,
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
                f"an update takes {multiple} images from each of {self.world_size} processes, but the "
                f"data set has {self.size}: set a smaller --batch-size with --auto-scale-lr, or "
                "accumulate fewer batches (optim_wrapper.accumulative_counts)"
            )
        self.shuffle, self.repeats = shuffle, repeats
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        yield from self.draws_of(self.epoch)

    def draws_of(self, epoch: int) -> list[int]:
        """The samples of this process in an epoch."""
        order = torch.arange(self.size)
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + epoch)
            order = torch.randperm(self.size, generator=generator)
        draws = epoch * self.repeats + torch.arange(self.repeats)
        order = (order[:, None] + draws * self.size).flatten()[: len(self) * self.world_size]
        return order[self.rank :: self.world_size].tolist()

    def __len__(self) -> int:
        return self.share

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the epoch; mmengine's DistSamplerSeedHook calls this before each epoch."""
        self.epoch = epoch
