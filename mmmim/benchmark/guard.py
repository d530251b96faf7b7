"""Measure what it costs to skip updates that are not finite."""

import argparse
import copy
import statistics

import torch
from mmengine.optim import OptimWrapper

from mmmim.benchmark.timing import Work, measure, write
from mmmim.engine.step_guard import StepGuard
from mmmim.registry import MODELS

# The encoder and decoder of ViT-B's recipe (configs/mae/vit-b.py).
MAE = dict(type="MAE", backbone=dict(type="ViT", arch="base"), decoder=dict())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=8, help="images per step (default: 8)")


def run(args: argparse.Namespace) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = torch.randn(args.batch, 3, 224, 224, device=device)
    plain = MODELS.build(copy.deepcopy(MAE)).to(device)
    guarded = copy.deepcopy(plain)
    works = []
    for name, model in (("plain", plain), ("guarded", guarded)):
        wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True))
        if name == "guarded":
            StepGuard(wrapper, model)
        works.append(Work(name, lambda m=model, w=wrapper: _step(m, w, images), args.batch))
    timings = measure(works, args.repeats, device)
    write("A training step of MAE ViT-B with and without the guard", timings, out=args.out)
    ratios = [g / p for p, g in zip(timings[0].seconds, timings[1].seconds, strict=True)]
    print(
        f"guarded / plain: median {statistics.median(ratios):.3f}, "
        f"from {min(ratios):.3f} to {max(ratios):.3f} in {len(ratios)} rounds"
    )


def _step(model: torch.nn.Module, wrapper: OptimWrapper, images: torch.Tensor) -> None:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=images.is_cuda):
        loss = model.loss(images)["loss"]
    wrapper.update_params(loss)
