"""Stochastic depth (arXiv 1603.09382)."""

from mmengine.dist import get_rank, get_world_size
from torch import Tensor, nn


class DropPath(nn.Module):
    """Zeroes a residual branch of some samples while training, and scales it up for the others.

    torchvision's StochasticDepth by "row", except that several processes each draw for the global batch
    and take the rows of their own samples, as `masking/random.py` does: seeded alike, they drop what
    one process would, and not all the same.

    Args:
        rate: probability of dropping, at least 0 and less than 1.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"the rate of drop path must be at least 0 and less than 1, got {rate}")
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """(B, ...) -> the same shape."""
        if not self.training or not self.rate:
            return branch
        rows = len(branch) * get_world_size()
        noise = branch.new_empty(rows, *[1] * (branch.ndim - 1)).bernoulli_(1 - self.rate)
        return branch * noise[get_rank() :: get_world_size()].div_(1 - self.rate)
