"""Checkpoints in and out: official, timm and OpenMMLab formats, with a strict report."""

from mmmim.checkpoints.files import read_checkpoint, write_checkpoint
from mmmim.checkpoints.formats import FORMATS, find_format, recognise, to_mmmim
from mmmim.checkpoints.loading import PretrainedBackbone, load_backbone, position_grid

__all__ = [
    "FORMATS",
    "PretrainedBackbone",
    "find_format",
    "load_backbone",
    "position_grid",
    "read_checkpoint",
    "recognise",
    "to_mmmim",
    "write_checkpoint",
]
