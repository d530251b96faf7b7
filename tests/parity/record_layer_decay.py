"""Record each parameter's lr scale and weight decay in the official implementations.

    python -m tests.parity.record_layer_decay MAE CONVMAE MIXMIM MASKALIGN LSMAE MAE_SEGMENTATION \\
        DETECTRON2 CONVMAE_DET

Each implementation groups the parameters itself, with the published layer decay and a weight decay of
0.05. Classification: MAE, CONVMAE and MIXMIM as in record_classification.py; MASKALIGN
(OpenDriveLab/maskalign at 250d018) and LSMAE (facebookresearch/long_seq_mae at 9599310) on MAE's model.
Segmentation: MAE_SEGMENTATION (implus/mae_segmentation at 772c0c1) and CONVMAE. Detection: DETECTRON2
(02b5c4e) and CONVMAE_DET (OpenGVLab/Official-ConvMAE-Det at cd634d3), whose function gives only the
rate.
"""

import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from tests.parity.common import load, save
from tests.parity.record_classification import convmae, mae, mixmim
from tests.parity.record_mae_segmentation import import_backbone

WEIGHT_DECAY = 0.05
SOURCES = dict(
    mae="facebookresearch/mae efb2a80",
    convmae="Alpha-VL/ConvMAE 4c97b4c",
    mixmim="Sense-X/MixMIM 2b2f5a9",
    maskalign="OpenDriveLab/maskalign 250d018",
    lsmae="facebookresearch/long_seq_mae 9599310",
    mae_segmentation="implus/mae_segmentation 772c0c1",
    vitdet="facebookresearch/detectron2 02b5c4e",
    convmae_vitdet="OpenGVLab/Official-ConvMAE-Det cd634d3",
)


class Parameters(nn.Module):
    """Parameters with given names and numbers of dimensions, which is all that grouping reads."""

    def __init__(self, dimensions: dict[str, int]) -> None:
        super().__init__()
        self.dimensions = dimensions

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        for name, ndim in self.dimensions.items():
            yield name, nn.Parameter(torch.empty((1,) * ndim))


def load_file(path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def classifier_groups(folder: Path, model: nn.Module, layer_decay: float) -> dict[str, list]:
    names = {id(p): n for n, p in model.named_parameters()}
    groups = load_file(folder / "util/lr_decay.py").param_groups_lrd(
        model, WEIGHT_DECAY, model.no_weight_decay(), layer_decay=layer_decay
    )
    return {
        names[id(p)]: [group["lr_scale"], group["weight_decay"]]
        for group in groups
        for p in group["params"]
    }


def segmenter_groups(
    folder: Path, dimensions: dict[str, int], layer_decay: float, depth: int
) -> dict[str, list]:
    """Stubs replace the three names of mmcv of 2022 that the constructor needs."""
    runner = types.ModuleType("mmcv.runner")
    runner.OPTIMIZER_BUILDERS = types.SimpleNamespace(register_module=lambda: lambda cls: cls)
    runner.DefaultOptimizerConstructor = object
    runner.get_dist_info = lambda: (1, 1)
    sys.modules["mmcv.runner"] = runner
    file = load_file(folder / "mmcv_custom/layer_decay_optimizer_constructor.py")
    constructor = file.LayerDecayOptimizerConstructor()
    constructor.paramwise_cfg = dict(num_layers=depth, layer_decay_rate=layer_decay)
    constructor.base_wd, constructor.base_lr = WEIGHT_DECAY, 1.0
    groups: list[dict] = []
    constructor.add_params(groups, Parameters(dimensions))
    return {
        name: [group["lr_scale"], group["weight_decay"]]
        for group in groups
        for name in group["param_names"]
    }


def detector_rates(file: Path, names: list[str], layer_decay: float, depth: int) -> dict[str, float]:
    """Runs the function alone, since the rest of its file needs a compiled detectron2."""
    source = file.read_text()
    namespace: dict = {}
    exec(source[source.index("def get_vit_lr_decay_rate") :], namespace)
    return {name: namespace["get_vit_lr_decay_rate"](name, layer_decay, depth) for name in names}


def main() -> None:
    folders = dict(zip(SOURCES, map(Path, sys.argv[1:]), strict=True))
    groups = dict(
        mae=classifier_groups(folders["mae"], mae(folders["mae"]), 0.65),
        convmae=classifier_groups(folders["convmae"], convmae(folders["convmae"]), 0.65),
        mixmim=classifier_groups(folders["mixmim"], mixmim(folders["mixmim"]), 0.7),
        maskalign=classifier_groups(folders["maskalign"], mae(folders["mae"]), 0.55),
        mae_large=classifier_groups(folders["mae"], mae(folders["mae"], depth=24), 0.75),
        mae_huge=classifier_groups(folders["mae"], mae(folders["mae"], depth=32), 0.75),
        lsmae=classifier_groups(folders["lsmae"], mae(folders["mae"]), 0.65),
    )
    vit = import_backbone(folders["mae_segmentation"])(
        img_size=512, embed_dim=96, depth=4, num_heads=3, qkv_bias=True, use_rel_pos_bias=True,
        init_values=1.0, out_indices=[0, 1, 2, 3], fpn1_norm="BN",
    )  # fmt: skip
    dimensions = {f"backbone.{n}": p.ndim for n, p in vit.named_parameters()}
    groups["mae_segmentation"] = segmenter_groups(folders["mae_segmentation"], dimensions, 0.65, 4)
    shapes = load("convmae_segmentation")["shapes_of_weights"]
    dimensions = {f"backbone.{name}": len(shape) for name, shape in shapes.items()}
    groups["convmae_segmentation"] = segmenter_groups(folders["convmae"] / "SEG", dimensions, 0.75, 11)
    rates = dict(
        vitdet=detector_rates(
            folders["vitdet"] / "detectron2/modeling/backbone/vit.py", load("vitdet")["keys"], 0.7, 4
        ),
        convmae_vitdet=detector_rates(
            folders["convmae_vitdet"] / "projects/ConvMAEDet/modeling/convmae.py",
            [f"backbone.net.{n}" for n in load("convmae_detection_pyramid")["shapes_of_weights"]],
            0.8,
            11,
        ),
    )
    made_by = "tests/parity/record_layer_decay.py"
    save("layer_decay", dict(made_by=made_by, sources=SOURCES, groups=groups, rates=rates))


if __name__ == "__main__":
    main()
