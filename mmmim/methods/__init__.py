"""One file (or folder) per paper. Start reading at `mae.py`."""

import inspect
import typing
from typing import Any

from mmmim.methods.base import Method
from mmmim.methods.convmae import ConvMAE, FastConvMAE
from mmmim.methods.lsmae import LSMAE
from mmmim.methods.mae import MAE
from mmmim.methods.maskalign import MaskAlign
from mmmim.methods.mixmim import MixMIM
from mmmim.methods.pixmim import PixMIM
from mmmim.registry import MODELS
from mmmim.visualization import Panel

__all__ = [
    "LSMAE",
    "MAE",
    "ConvMAE",
    "FastConvMAE",
    "MaskAlign",
    "Method",
    "MixMIM",
    "Panel",
    "PixMIM",
    "is_method",
]


def is_method(model: dict[str, Any]) -> bool:
    """Whether the config of a model builds a pretraining method."""
    built = MODELS.get(model["type"]) if isinstance(model.get("type"), str) else model.get("type")
    if built is not None and not inspect.isclass(built):
        # A function that builds a method says so by its return annotation, as `PixMIM` does.
        built = typing.get_type_hints(inspect.unwrap(built)).get("return")
    return inspect.isclass(built) and issubclass(built, Method)
