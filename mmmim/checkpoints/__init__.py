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
from mmmim.checkpoints.io import (
    DamagedCheckpoint,
    install_reader,
    read_checkpoint,
    read_file,
    write_checkpoint,
)
from mmmim.checkpoints.load import (
    CheckpointMismatch,
    LoadReport,
    PretrainedBackbone,
    convert_file,
    convert_weights,
    load_backbone,
    position_grid,
)
from mmmim.checkpoints.unpickle import UntrustedCheckpoint, trust

__all__ = [
    "FORMATS",
    "CheckpointMismatch",
    "DamagedCheckpoint",
    "Format",
    "LoadReport",
    "PretrainedBackbone",
    "UntrustedCheckpoint",
    "convert",
    "convert_file",
    "convert_weights",
    "detect_format",
    "export",
    "find_format",
    "install_reader",
    "load_backbone",
    "position_grid",
    "read_checkpoint",
    "read_file",
    "register_format",
    "trust",
    "write_checkpoint",
]
