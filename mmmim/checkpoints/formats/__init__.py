"""Names of weights: who wrote them, what they are called here, and under which names they leave."""

from mmmim.checkpoints.formats.convmae import to_convmae
from mmmim.checkpoints.formats.mixmim import to_mixmim, to_mmpretrain_mixmim
from mmmim.checkpoints.formats.table import FORMATS, find_format, recognise, to_backbone, to_mmmim
from mmmim.checkpoints.formats.vit import to_timm

__all__ = [
    "FORMATS",
    "find_format",
    "recognise",
    "to_backbone",
    "to_convmae",
    "to_mixmim",
    "to_mmmim",
    "to_mmpretrain_mixmim",
    "to_timm",
]
