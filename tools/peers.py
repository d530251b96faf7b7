"""Official implementations as the user cloned them, made importable under today's packages.

Their code is of 2021 and 2022: it asks for modules that timm has moved, and for `np.float`. Both are
given back here, under their old names; nothing of the implementations is changed.
"""

import importlib
import sys
import types
from pathlib import Path

import numpy as np
import timm.layers
from torch import nn


def convmae(folder: Path) -> nn.Module:
    """Alpha-VL/ConvMAE: base, normalised pixels; `model(images)` gives (loss, prediction, mask)."""
    module = _import(folder, "models_convmae")
    return module.convmae_convvit_base_patch16(norm_pix_loss=True)


def fastconvmae(folder: Path) -> nn.Module:
    """Alpha-VL/FastConvMAE, likewise."""
    module = _import(folder, "models_fastconvmae")
    return module.fastconvmae_convvit_base_patch16_dec512d8b(norm_pix_loss=True)


# Method of a config -> its official implementation.
OFFICIAL = {"ConvMAE": convmae, "FastConvMAE": fastconvmae}


def give_back_old_names() -> None:
    """What the official code imports from timm 0.3.2 and numpy 1.19."""
    np.float = float
    stand_ins = {
        "timm.models.layers": vars(timm.layers),
        "timm.models.helpers": dict(load_pretrained=None),
        "timm.models.resnet": dict(resnet26d=None, resnet50d=None),
        "timm.models.registry": dict(register_model=lambda function: function),
    }
    for name, content in stand_ins.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update({k: v for k, v in content.items() if not k.startswith("__")})


def _import(folder: Path, name: str) -> types.ModuleType:
    """Import `name` from `folder`, whose own modules go before any of the same name."""
    if not (folder / f"{name}.py").is_file():
        raise FileNotFoundError(f"'{folder}' has no {name}.py: is it a clone of the right repository?")
    give_back_old_names()
    for module in ("vision_transformer", "util", "util.pos_embed"):  # of another official folder
        sys.modules.pop(module, None)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
