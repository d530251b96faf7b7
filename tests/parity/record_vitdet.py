"""Record detectron2's ViTDet features at 1024 pixels, on a narrow ViT.

    python -m tests.parity.record_vitdet DETECTRON2_REPOSITORY

DETECTRON2_REPOSITORY: facebookresearch/detectron2 at 02b5c4e; fvcore must be importable. Only the
files that define the backbone are run, since the packages' __init__ need compiled operators.
"""

import importlib
import sys
import types
from functools import partial
from pathlib import Path

import timm.layers
import torch
from torch import nn

from tests.parity.common import images, save, set_weights, tensor_summary

WIDTH = dict(embed_dim=96, depth=4, num_heads=3)


def import_package(repository: Path) -> None:
    """Make detectron2's backbones importable, without the packages' __init__."""

    def package(name: str) -> types.ModuleType:
        module = types.ModuleType(name)
        module.__path__ = [str(repository / name.replace(".", "/"))]
        sys.modules[name] = module
        return module

    for name in ("detectron2", "detectron2.utils", "detectron2.modeling"):
        package(name)
    layers = package("detectron2.layers")
    for file in ("wrappers", "batch_norm", "blocks"):
        module = importlib.import_module(f"detectron2.layers.{file}")
        for key in ("cat", "Conv2d", "get_norm", "CNNBlockBase", "FrozenBatchNorm2d", "ShapeSpec"):
            if hasattr(module, key):
                setattr(layers, key, getattr(module, key))
    from detectron2.layers.shape_spec import ShapeSpec

    layers.ShapeSpec = ShapeSpec
    package("detectron2.modeling.backbone")
    fpn = types.ModuleType("detectron2.modeling.backbone.fpn")
    fpn._assert_strides_are_log2_contiguous = lambda strides: None
    sys.modules[fpn.__name__] = fpn
    sys.modules.setdefault("timm.models.layers", timm.layers)


class LastLevelMaxPool(nn.Module):
    """As in fpn.py, whose import needs all of detectron2: p6 is every second pixel of p5."""

    num_levels, in_feature = 1, "p5"

    def forward(self, x):
        return [nn.functional.max_pool2d(x, kernel_size=1, stride=2, padding=0)]


def main() -> None:
    import_package(Path(sys.argv[1]))
    vit = importlib.import_module("detectron2.modeling.backbone.vit")
    net = vit.ViT(
        img_size=1024,
        window_size=14,
        window_block_indexes=[0, 2],
        use_rel_pos=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        **WIDTH,
    )
    model = vit.SimpleFeaturePyramid(
        net,
        in_feature="last_feat",
        out_channels=32,
        scale_factors=(4.0, 2.0, 1.0, 0.5),
        top_block=LastLevelMaxPool(),
        norm="LN",
        square_pad=1024,
    ).eval()
    set_weights({f"backbone.{n}": p for n, p in model.named_parameters()})
    with torch.no_grad():
        levels = model(images(1, 1024))
    save(
        "vitdet",
        dict(
            made_by="tests/parity/record_vitdet.py",
            source="facebookresearch/detectron2 02b5c4e",
            shapes={name: list(level.shape) for name, level in levels.items()},
            levels={name: tensor_summary(name, level) for name, level in levels.items()},
            keys=sorted(f"backbone.{n}" for n, _ in model.named_parameters()),
        ),
    )


if __name__ == "__main__":
    main()
