"""Plan a pretraining on 1, 8 and 64 GPUs on paper: time, memory, traffic, and where it stops scaling.

python tools/plan.py CONFIG ... [--gpus N ...] [--peak TFLOPS] [--share S] [--memory GB]
    [--link GB] [--network GB] [--loader IMAGES]

What one image costs is counted here: operations, weights, and what autograd keeps for the backward
pass. What the machine does is assumed, and said: see the options.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from benchmark_step import load_method, step_of
from mmengine import Config
from timing import count_flops, held_mib

import mmmim  # noqa: F401  registers the methods
from mmmim.registry import MODELS

BATCH = 2  # images that are counted
GPUS_PER_NODE = 8


@dataclass(frozen=True)
class Cost:
    """What a method costs.

    Attributes:
        images: in the whole batch of the recipe.
        flops: of one image, forward and backward.
        weights: trained parameters.
        kept: bytes that autograd keeps of one image in bfloat16.
    """

    images: int
    flops: float
    weights: int
    kept: float


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="+", help="of pretraining methods")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--peak", type=float, default=989, help="TFLOP/s of a GPU in bfloat16 (H200)")
    parser.add_argument("--share", type=float, default=0.35, help="of the peak that a step reaches")
    parser.add_argument("--memory", type=float, default=141, help="GB of a GPU (H200)")
    parser.add_argument("--link", type=float, default=450, help="GB/s of a GPU to others of its node")
    parser.add_argument("--network", type=float, default=50, help="GB/s of a GPU to other nodes")
    parser.add_argument("--loader", type=float, default=450, help="images a second and core")
    return parser.parse_args()


def count(path: str) -> Cost:
    """The cost of a config's method, counted on a CPU."""
    with tempfile.TemporaryDirectory() as folder:
        model = MODELS.build(load_method(path, Path(folder))).train()
        size = model.backbone.img_size
        step = step_of(model, torch.randn(BATCH, 3, size, size), "float32")
        step()  # a teacher reads its file now
    weights = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters()) * 4
    kept = (held_mib(step) * 2**20 - frozen) / BATCH / 2  # float32 here, bfloat16 there
    images = Config.fromfile(path).auto_scale_lr.base_batch_size
    return Cost(images, count_flops(step) / BATCH, weights, kept)


def plan(cost: Cost, gpus: int, args: argparse.Namespace) -> list[str]:
    """One row: how the recipe's whole batch runs on `gpus`.

    A ring moves 2 (n - 1) / n of the gradients, in float32; all but a third of a step, the forward
    pass, can hide it. Weights, gradients and two moments are float32 on every GPU.
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
        f"{16 * cost.weights / 1e9:.1f} GB + {cost.kept / 1e6:.0f} MB an image, {fits:,.0f} fit",
        f"{traffic / 1e9:.2f} GB, {1e3 * transfer:.0f} ms",
        f"{speed / args.loader / gpus:.1f}",
    ]


def main() -> None:
    args = parse_args()
    torch.manual_seed(0)
    head = ["GPUs", "images a GPU", "an update", "of it computing", "images/s", "memory of a GPU"]
    head += ["traffic of a GPU", "loader cores a GPU"]
    for path in args.configs:
        cost = count(path)
        print(
            f"\n{path}: batch {cost.images}, {cost.flops / 1e9:.1f} GFLOP an image, "
            f"{cost.weights / 1e6:.0f} M weights\n"
        )
        for row in (head, ["---"] * len(head), *(plan(cost, n, args) for n in args.gpus)):
            print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
