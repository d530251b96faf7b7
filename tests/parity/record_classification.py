"""Record logits of the official fine-tuning and probing models, narrow, at full depth and 224 pixels.

    python -m tests.parity.record_classification MAE CONVMAE MIXMIM

MAE: facebookresearch/mae at efb2a80 (MaskAlign's models_vit.py computes the same); CONVMAE:
Alpha-VL/ConvMAE at 4c97b4c; MIXMIM: Sense-X/MixMIM at 2b2f5a9.
"""

import functools
import sys
from pathlib import Path

import torch
from torch import nn

from mmmim.benchmark import peers
from tests.parity.common import images, save, set_weights

NORM = functools.partial(nn.LayerNorm, eps=1e-6)
CLASSES = 10
# Norms that keep their initial ones and zeros in linear probing.
UNTRAINED = dict(maskalign_linear=("norm.",), convmae_linear=("fc_norm.",))


def mae(folder: Path, global_pool: bool = True, depth: int = 12) -> nn.Module:
    module = peers.import_official(folder, "models_vit")
    return module.VisionTransformer(
        global_pool=global_pool, patch_size=16, embed_dim=64, depth=depth, num_heads=4, qkv_bias=True,
        norm_layer=NORM, num_classes=CLASSES,
    )  # fmt: skip


def convmae(folder: Path) -> nn.Module:
    module = peers.import_official(folder, "models_convvit")
    return module.ConvViT(
        global_pool=True, img_size=[224, 56, 28], patch_size=[4, 2, 2], embed_dim=[16, 32, 64],
        depth=[2, 2, 11], num_heads=4, mlp_ratio=[4, 4, 4], qkv_bias=True, norm_layer=NORM,
        num_classes=CLASSES,
    )  # fmt: skip


def probe(model: nn.Module) -> nn.Module:
    """Turn a model into a linear probe, as main_linprobe.py:205-208 of both repositories do."""
    norm = nn.BatchNorm1d(model.head.in_features, affine=False, eps=1e-6)
    model.head = nn.Sequential(norm, model.head)
    return model


def mae_linear(folder: Path) -> nn.Module:
    return probe(mae(folder, global_pool=False))


def maskalign_linear(folder: Path) -> nn.Module:
    """MAE's models_vit.py, which MaskAlign copies; MaskAlign does not train `norm`."""
    return mae_linear(folder)


def convmae_linear(folder: Path) -> nn.Module:
    return probe(convmae(folder))


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
    folders = dict(zip(sources, map(Path, sys.argv[1:]), strict=True))
    for build in (mae, convmae, mixmim, mae_linear, maskalign_linear, convmae_linear):
        name = build.__name__
        code = name.removesuffix("_linear").replace("maskalign", "mae")
        model = build(folders[code]).eval()
        # The head of a probe has a BatchNorm without weights, which uses batch statistics.
        model.head.train()
        trained = {
            n.replace("head.1.", "head."): p
            for n, p in model.named_parameters()
            if p.requires_grad and not n.startswith(UNTRAINED.get(name, ("never",)))
        }
        set_weights(trained)
        logits = model.head(model.forward_features(images(4 if "linear" in name else 2, 224)))
        recorded[name] = dict(
            logits=logits.tolist(), shapes={n: list(p.shape) for n, p in trained.items()}
        )
    made_by = "tests/parity/record_classification.py"
    save("classification", dict(made_by=made_by, sources=sources, models=recorded))


if __name__ == "__main__":
    main()
