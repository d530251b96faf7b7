"""Record loss and gradients of the official ConvMAE and FastConvMAE, and the maps of transfer.

    python -m tests.parity.record_convmae CONVMAE FASTCONVMAE DETECTION

Clones of Alpha-VL/ConvMAE at 4c97b4c, Alpha-VL/FastConvMAE at 0039734 and
OpenGVLab/Official-ConvMAE-Det at cd634d3 (it holds its own detectron2); fvcore and einops must be
importable. Only the files that define the models are run. The transfer models are narrow, since 1024
pixels take minutes at full width. The first detection code hard-codes its widths; they are replaced in
the source.
"""

import sys
import types
from functools import partial
from pathlib import Path

import torch
from torch import nn

from mmmim.benchmark import peers
from tests.parity.common import SEED, gradient_summary, images, save, set_weights, tensor_summary
from tests.parity.record_vitdet import import_package

DIMS, DEPTHS, HEADS = [16, 24, 48], [2, 2, 11], 12
MADE_BY = "tests/parity/record_convmae.py"


def record_pretraining(name: str, source: str, model: nn.Module) -> None:
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    set_weights(trained)
    torch.manual_seed(SEED)
    loss, _, _ = model(images(2, 224))
    loss.backward()
    gradients = gradient_summary(trained)
    save(name, dict(made_by=MADE_BY, source=source, loss=loss.item(), gradients=gradients))


@torch.no_grad()
def record_maps(name: str, source: str, model: nn.Module, size: int, forward) -> None:
    set_weights(dict(model.named_parameters()))
    maps = forward(model.eval(), images(1, size))
    save(
        name,
        dict(
            made_by=MADE_BY,
            source=source,
            shapes=[list(m.shape) for m in maps],
            maps=[tensor_summary(f"map {i}", m) for i, m in enumerate(maps)],
            shapes_of_weights={n: list(p.shape) for n, p in model.named_parameters()},
        ),
    )


def stub(name: str, **content) -> None:
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(content)


def detection_fpn(repository: Path) -> nn.Module:
    """DET/models/convmae.py, with stubs for detectron2."""
    for package in ("detectron2", "detectron2.utils"):
        stub(package)
    stub("detectron2.layers", ShapeSpec=None)
    stub("detectron2.modeling.backbone", Backbone=object)
    stub("detectron2.modeling")
    stub(
        "detectron2.utils.logger", setup_logger=lambda name: types.SimpleNamespace(info=lambda x: None)
    )
    source = (repository / "DET/models/convmae.py").read_text()
    for official, narrow in (("[256, 384, 768]", DIMS), ("num_heads=12\n", f"num_heads={HEADS}\n")):
        assert official in source
        source = source.replace(official, str(narrow))
    module = types.ModuleType("convmae_det")
    exec(compile(source, "DET/models/convmae.py", "exec"), vars(module))
    model = module.ConvViTDet(window_size=16, sincos_pos_embed=True)
    for name in [n for n in sys.modules if n.startswith("detectron2")]:
        del sys.modules[name]
    return model


def detection_pyramid(repository: Path) -> nn.Module:
    """projects/ConvMAEDet/modeling/convmae.py."""
    import_package(repository)
    stub("fairscale"), stub("fairscale.nn"), stub("fairscale.nn.checkpoint", checkpoint_wrapper=None)
    stub("detectron2.modeling.backbone.backbone", Backbone=nn.Module)
    module = peers.import_official(repository / "projects/ConvMAEDet/modeling", "convmae")
    return module.ConvViT(
        embed_dim=DIMS,
        depth=DEPTHS,
        num_heads=HEADS,
        window_size=14,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        window_block_indexes=[0, 2, 3, 5, 6, 8, 9],
        use_rel_pos=True,
        pretrain_use_cls_token=False,
    )


def segmentation(repository: Path) -> nn.Module:
    """SEG/backbone/convmae.py, with BN in place of SyncBN, which CPUs do not support."""
    registry = types.SimpleNamespace(register_module=lambda: lambda cls: cls)
    stub("mmcv_custom", load_checkpoint=None)
    stub("mmseg"), stub("mmseg.models")
    stub("mmseg.utils", get_root_logger=None)
    stub("mmseg.models.builder", BACKBONES=registry)
    nn.SyncBatchNorm = nn.BatchNorm2d
    sys.modules.pop("convmae", None)
    module = peers.import_official(repository / "SEG/backbone", "convmae")
    return module.ConvMAE(embed_dim=DIMS, depth=DEPTHS, num_heads=HEADS)


def main() -> None:
    convmae, fast, detection = (Path(argument).resolve() for argument in sys.argv[1:4])
    sources = ("Alpha-VL/ConvMAE 4c97b4c", "Alpha-VL/FastConvMAE 0039734")
    record_pretraining("convmae_base", sources[0], peers.convmae(convmae))
    record_pretraining("fastconvmae_base", sources[1], peers.fastconvmae(fast))

    record_maps(
        "convmae_detection_fpn",
        sources[0],
        detection_fpn(convmae),
        1024,
        lambda model, x: list(model(types.SimpleNamespace(tensor=x)).values()),
    )
    record_maps(
        "convmae_detection_pyramid",
        "OpenGVLab/Official-ConvMAE-Det cd634d3",
        detection_pyramid(detection),
        1024,
        lambda model, x: list(model(x).values()),
    )
    record_maps(
        "convmae_segmentation", sources[0], segmentation(convmae), 512, lambda model, x: model(x)
    )


if __name__ == "__main__":
    main()
