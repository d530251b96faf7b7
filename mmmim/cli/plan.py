"""Estimate a pretraining on 1, 8 and 64 GPUs: time, memory, traffic, and where it stops scaling.

Operations, weights and activation memory per image are counted on this machine. The properties of the
GPUs are assumptions, which the options set.
"""

from mmmim.benchmark.plan import add_arguments, run

__all__ = ["add_arguments", "run"]
