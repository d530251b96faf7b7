"""Pretrain on synthetic scenes, fine-tune a detector and a segmenter, compare with scratch.

Takes about 11 minutes on two cores: PixMIM, Mask R-CNN and UperNet, one table, one report.

An interrupted demo continues where it stopped; a finished one prints its table again.
"""

from mmmim.experiments.demo import add_arguments, run

__all__ = ["add_arguments", "run"]
