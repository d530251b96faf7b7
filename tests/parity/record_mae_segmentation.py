"""Record the maps of the UperNet recipe's MAE backbone at 512 pixels, on a narrow ViT.

    python -m tests.parity.record_mae_segmentation MAE_SEGMENTATION_REPOSITORY

MAE_SEGMENTATION_REPOSITORY: implus/mae_segmentation at 772c0c1; its imports are replaced by stubs.
"""

import sys
import types
from pathlib import Path

import timm.layers
import torch

from mmmim.benchmark import peers
from tests.parity.common import images, save, set_weights, tensor_summary


def import_backbone(repository: Path):
    stub = types.SimpleNamespace(register_module=lambda: lambda cls: cls)
    names = {
        "mmcv_custom": dict(load_checkpoint=None),
        "mmseg": {},
        "mmseg.utils": dict(get_root_logger=None),
        "mmseg.models": {},
        "mmseg.models.builder": dict(BACKBONES=stub),
    }
    for name, content in names.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(content)
    sys.modules.setdefault("timm.models.layers", timm.layers)
    return peers.import_official(repository / "backbone", "mae").MAE


def main() -> None:
    model = import_backbone(Path(sys.argv[1]))(
        img_size=512,
        embed_dim=96,
        depth=4,
        num_heads=3,
        qkv_bias=True,
        use_rel_pos_bias=True,
        init_values=1.0,
        out_indices=[0, 1, 2, 3],
        fpn1_norm="BN",
    ).eval()
    set_weights(dict(model.named_parameters()))
    with torch.no_grad():
        maps = model(images(1, 512))
    save(
        "mae_segmentation",
        dict(
            made_by="tests/parity/record_mae_segmentation.py",
            source="implus/mae_segmentation 772c0c1",
            shapes=[list(m.shape) for m in maps],
            maps=[tensor_summary(f"map {i}", m) for i, m in enumerate(maps)],
            keys=sorted(n for n, _ in model.named_parameters()),
        ),
    )


if __name__ == "__main__":
    main()
