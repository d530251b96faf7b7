"""Estimate pretraining on several GPUs from the cost per image and assumed properties of the GPUs."""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine import Config

from mmmim.benchmark.step import load_method, step_of
from mmmim.benchmark.timing import count_flops, held_mib
from mmmim.engine import find_config
from mmmim.registry import MODELS

BATCH = 2  # images of the step whose cost is counted
GPUS_PER_NODE = 8


@dataclass(frozen=True)
class Cost:
    """Cost of pretraining a method.

    Attributes:
        images: global batch size of the recipe.
        flops: operations per image, forward and backward, two per multiply-add.
        weights: number of trained parameters.
        kept: bytes per image that autograd saves for the backward pass, in bfloat16.
    """

    images: int
    flops: float
    weights: int
    kept: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "configs",
        nargs="+",
        metavar="config",
        help="pretraining method: a config file, or the name of a packaged one (mae/vit-b)",
    )
    parser.add_argument(
        "--gpus",
        type=int,
        nargs="+",
        default=[1, 8, 64],
        help="numbers of GPUs, 8 of them per node (default: 1 8 64)",
    )
    parser.add_argument(
        "--peak",
        type=float,
        default=989,
        help="peak of one GPU in bfloat16, in TFLOP/s (default: 989, H200)",
    )
    parser.add_argument(
        "--share",
        type=float,
        default=0.35,
        help="fraction of the peak that a training step reaches (default: 0.35)",
    )
    parser.add_argument(
        "--memory", type=float, default=141, help="memory of one GPU in GB (default: 141, H200)"
    )
    parser.add_argument(
        "--link",
        type=float,
        default=450,
        help="bandwidth of one GPU within its node, in GB/s (default: 450)",
    )
    parser.add_argument(
        "--network",
        type=float,
        default=50,
        help="bandwidth of one GPU to other nodes, in GB/s (default: 50)",
    )
    parser.add_argument(
        "--loader",
        type=float,
        default=450,
        help="images per second that one CPU core loads (default: 450)",
    )


def count(path: str) -> Cost:
    """Count the cost of a config's method, on a CPU."""
    with tempfile.TemporaryDirectory() as folder:
        model = MODELS.build(load_method(path, Path(folder))).train()
        size = model.backbone.img_size
        step = step_of(model, torch.randn(BATCH, 3, size, size), "float32")
        step()  # a teacher loads its weights in the first step
    weights = sum(p.numel() for p in model.parameters() if p.requires_grad)
    parameter_bytes = sum(p.numel() for p in model.parameters()) * 4
    # Counted in float32; bfloat16 takes half of it.
    kept = (held_mib(step) * 2**20 - parameter_bytes) / BATCH / 2
    images = Config.fromfile(find_config(path)).auto_scale_lr.base_batch_size
    return Cost(images, count_flops(step) / BATCH, weights, kept)


def plan(cost: Cost, gpus: int, args: argparse.Namespace) -> list[str]:
    """One row of the table: the recipe's global batch on `gpus` GPUs.

    A ring all-reduce moves 2 (n - 1) / n of the float32 gradients per GPU. It overlaps with the
    backward pass, which takes two thirds of a step. Every GPU holds weights, gradients and two moments
    in float32, 16 bytes per weight.
    """
    batch = cost.images / gpus
    compute = batch * cost.flops / (args.peak * 1e12 * args.share)
    traffic = 2 * (gpus - 1) / gpus * 4 * cost.weights
    rate = args.link if gpus <= GPUS_PER_NODE else args.network
    transfer = traffic / (rate * 1e9)
    step = max(compute, compute / 3 + transfer)
    fits = (args.memory * 1e9 - 16 * cost.weights) / cost.kept
    speed = cost.images / step
    return [
        f"{gpus}",
        f"{batch:.0f}",
        f"{step:.2f} s" if step >= 1 else f"{1e3 * step:.0f} ms",
        f"{compute / step:.0%}",
        f"{speed:,.0f}",
        f"{16 * cost.weights / 1e9:.1f} GB + {cost.kept / 1e6:.0f} MB per image, {fits:,.0f} fit",
        f"{traffic / 1e9:.2f} GB, {1e3 * transfer:.0f} ms",
        f"{speed / args.loader / gpus:.1f}",
    ]


def run(args: argparse.Namespace) -> None:
    torch.manual_seed(0)
    head = ["GPUs", "images per GPU", "time per update", "computing", "images/s", "memory per GPU"]
    head += ["traffic per GPU", "loader cores per GPU"]
    for path in args.configs:
        cost = count(path)
        print(
            f"\n{path}: batch {cost.images}, {cost.flops / 1e9:.1f} GFLOP per image, "
            f"{cost.weights / 1e6:.0f} M weights\n"
        )
        for row in (head, ["---"] * len(head), *(plan(cost, n, args) for n in args.gpus)):
            print(f"| {' | '.join(row)} |")
