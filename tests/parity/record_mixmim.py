"""Record loss and gradients of the official MixMIM, and the outputs of its stages in fine-tuning.

    python -m tests.parity.record_mixmim MIXMIM_REPOSITORY

MIXMIM_REPOSITORY: Sense-X/MixMIM at 2b2f5a9. The outputs are of a narrow model, at 224 and 384 pixels.
"""

import importlib
import sys
from pathlib import Path

import torch

from mmmim.benchmark import peers
from tests.parity.common import SEED, gradient_summary, images, save, set_weights, tensor_summary

NARROW = dict(embed_dim=32, num_heads=[1, 2, 4, 8], depths=[2, 2, 4, 2])
SOURCE = dict(made_by="tests/parity/record_mixmim.py", source="Sense-X/MixMIM 2b2f5a9")


def record_pretraining(folder: Path) -> None:
    model = peers.mixmim(folder)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    set_weights(trained)
    torch.manual_seed(SEED)
    loss, _, _ = model(images(3, 224))  # the middle image is its own partner
    loss.backward()
    save("mixmim_base", dict(**SOURCE, loss=loss.item(), gradients=gradient_summary(trained)))


@torch.no_grad()
def record_maps(folder: Path, name: str, size: int) -> None:
    module = peers.import_official(folder, "models_mixmim_ft")
    model = getattr(module, name)(**NARROW, num_classes=0).eval()
    set_weights({n: p for n, p in model.named_parameters() if p.requires_grad})
    stages = []
    for layer in model.layers:
        layer.blocks[-1].register_forward_hook(lambda module, args, output: stages.append(output))
    pooled = model(images(1, size))
    # Ours normalizes every map, the official code only the last; the others are normalized here.
    maps = [torch.nn.functional.layer_norm(s, s.shape[-1:]) for s in stages[:3]] + [
        model.norm(stages[3])
    ]
    assert torch.allclose(maps[3].mean(1), pooled, atol=1e-6)
    save(
        f"mixmim_maps_{size}",
        dict(
            **SOURCE,
            maps=[tensor_summary(f"map {i}", m) for i, m in enumerate(maps)],
            shapes_of_weights={
                n: list(p.shape) for n, p in model.named_parameters() if p.requires_grad
            },
        ),
    )


def record_resizing(folder: Path) -> None:
    """The tables of 224 pixels, as resized for fine-tuning at 384 pixels."""
    small, large = (
        getattr(importlib.import_module("models_mixmim_ft"), name)(**NARROW, num_classes=0)
        for name in ("mixmim_base", "mixmim_base_384")
    )
    set_weights({n: p for n, p in small.named_parameters() if p.requires_grad})
    state = small.state_dict()
    importlib.import_module("util.pos_embed").interpolate_pos_embed(large, state)
    tables = {n: v for n, v in state.items() if "table" in n or n == "absolute_pos_embed"}
    summaries = {n: tensor_summary(n, v) for n, v in tables.items()}
    shapes = {n: list(p.shape) for n, p in small.named_parameters() if p.requires_grad}
    save("mixmim_resizing", dict(**SOURCE, tables=summaries, shapes_of_weights=shapes))


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    record_pretraining(folder)
    record_maps(folder, "mixmim_base", 224)
    record_maps(folder, "mixmim_base_384", 384)
    record_resizing(folder)


if __name__ == "__main__":
    main()
