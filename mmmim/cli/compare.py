"""Measure what pretraining gains: fine-tune from a checkpoint and from scratch, over several seeds.

Pretrains on the synthetic scenes, or takes given weights, then fine-tunes detection and segmentation
from them and from scratch with the same budget on the few labelled scenes. With --at, checkpoints of
these epochs are compared too, which gives the curve of gain over pretraining time (first seed only).
An interrupted comparison continues where it stopped; results from scratch are shared by all
comparisons with the same transfer configs. Writes OUT/NAME.md and OUT/NAME.png.
"""

from mmmim.experiments.comparison import add_arguments, run

__all__ = ["add_arguments", "run"]
