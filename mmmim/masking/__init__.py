"""Which patches are hidden. A mask is boolean, True = hidden, (B, L) in row-major patch order."""

from mmmim.masking.random import random_mask

__all__ = ["random_mask"]
