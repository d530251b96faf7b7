"""Which patches are hidden. A mask is boolean, True = hidden, (B, L) in row-major patch order."""

from mmmim.masking.attentive import attentive_mask
from mmmim.masking.mixing import mixing_mask
from mmmim.masking.random import (
    block_mask,
    complementary_masks,
    count_parts,
    count_visible,
    random_mask,
)

__all__ = [
    "attentive_mask",
    "block_mask",
    "complementary_masks",
    "count_parts",
    "count_visible",
    "mixing_mask",
    "random_mask",
]
