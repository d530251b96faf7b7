"""Checkpoints in and out: official, timm and OpenMMLab formats, with a strict report."""

from mmmim.checkpoints.formats import (
    FORMATS,
    Format,
    convert,
    detect_format,
    export,
    find_format,
    register_format,
)
from mmmim.checkpoints.io import read_checkpoint, write_checkpoint
from mmmim.checkpoints.load import (
    CheckpointMismatch,
    LoadReport,
    PretrainedBackbone,
    convert_file,
    load_backbone,
    position_grid,
)

__all__ = [
    "FORMATS",
    "CheckpointMismatch",
    "Format",
    "LoadReport",
    "PretrainedBackbone",
    "convert",
    "convert_file",
    "detect_format",
    "export",
    "find_format",
    "load_backbone",
    "position_grid",
    "read_checkpoint",
    "register_format",
    "write_checkpoint",
]
