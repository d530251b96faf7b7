"""Record logits of the official fine-tuning models, narrow and at full depth, at 224 pixels.

    python tests/parity/record_classification.py MAE CONVMAE MIXMIM

MAE: facebookresearch/mae at efb2a80 (MaskAlign's models_vit.py computes the same); CONVMAE:
Alpha-VL/ConvMAE at 4c97b4c; MIXMIM: Sense-X/MixMIM at 2b2f5a9.
"""

import functools
import sys
from pathlib import Path

import torch
from common import images, save, set_weights
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import peers

NORM = functools.partial(nn.LayerNorm, eps=1e-6)
CLASSES = 10


def mae(folder: Path) -> nn.Module:
    module = peers.import_official(folder, "models_vit")
    return module.VisionTransformer(
        global_pool=True, patch_size=16, embed_dim=64, depth=12, num_heads=4, qkv_bias=True,
        norm_layer=NORM, num_classes=CLASSES,
    )  # fmt: skip


def convmae(folder: Path) -> nn.Module:
    module = peers.import_official(folder, "models_convvit")
    return module.ConvViT(
        global_pool=True, img_size=[224, 56, 28], patch_size=[4, 2, 2], embed_dim=[16, 32, 64],
        depth=[2, 2, 11], num_heads=4, mlp_ratio=[4, 4, 4], qkv_bias=True, norm_layer=NORM,
        num_classes=CLASSES,
    )  # fmt: skip


def mixmim(folder: Path) -> nn.Module:
    module = peers.import_official(folder, "models_mixmim_ft")
    return module.mixmim_base(embed_dim=16, num_heads=[1, 2, 4, 8], num_classes=CLASSES)


@torch.no_grad()
def main() -> None:
    sources = dict(
        mae="facebookresearch/mae efb2a80",
        convmae="Alpha-VL/ConvMAE 4c97b4c",
        mixmim="Sense-X/MixMIM 2b2f5a9",
    )
    recorded = {}
    for build, folder in zip((mae, convmae, mixmim), sys.argv[1:], strict=True):
        model = build(Path(folder)).eval()
        weights = dict(model.named_parameters())
        set_weights({n: p for n, p in weights.items() if p.requires_grad})
        logits = model.head(model.forward_features(images(2, 224)))
        recorded[build.__name__] = dict(
            logits=logits.tolist(),
            shapes={n: list(p.shape) for n, p in weights.items() if p.requires_grad},
        )
    made_by = "tests/parity/record_classification.py"
    save("classification", dict(made_by=made_by, sources=sources, models=recorded))


if __name__ == "__main__":
    main()
