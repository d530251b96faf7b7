"""Show the whole way in minutes: unlabelled scenes, PixMIM, Mask R-CNN and UperNet, one table.

An interrupted demo continues where it stopped; a finished one prints its table again.
"""

from mmmim.experiments.demo import add_arguments, run

__all__ = ["add_arguments", "run"]
