"""Measure the time per image over image sizes and batch sizes.

Times a training step of each method, and its encoder alone. Methods that do not support an image size
are skipped there. Needs --out PREFIX, and also draws the curves to PREFIX.png.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib

from mmmim.atomic import write_bytes, write_table
from mmmim.benchmark.step import autocast, load_method, step_of
from mmmim.benchmark.timing import Timing, Work, machine, measure
from mmmim.visualization import figure_png

matplotlib.use("Agg")
import torch
from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator

from mmmim.methods.base import Method
from mmmim.registry import MODELS


@dataclass(frozen=True)
class Point:
    """Timings by name at one image size and batch size, without the methods that do not support it."""

    size: int
    batch: int
    timings: dict[str, Timing]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "configs",
        nargs="+",
        metavar="config",
        help="pretraining method: a config file, or the name of a packaged one (mae/vit-b)",
    )
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=[224, 448, 672, 896, 1024],
        help="image sides in pixels, at the first of --batches (default: 224 448 672 896 1024)",
    )
    parser.add_argument(
        "--batches",
        type=int,
        nargs="+",
        default=[1, 2, 4, 8],
        help="images per step, at the first of --sizes (default: 1 2 4 8)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="float32, or autocast to bfloat16 (default: float32)",
    )


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.out is None:
        parser.error("curves writes its results to files: set --out PREFIX")


def run(args: argparse.Namespace) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    by_size = [_measure(args, size, args.batches[0], device) for size in args.sizes]
    more = [_measure(args, args.sizes[0], batch, device) for batch in args.batches[1:]]
    by_batch = [by_size[0], *more]
    title = f"Seconds per image, {args.dtype}, {machine()}"
    text = f"{title}\n\n{_table(by_size, 'size')}\n{_table(by_batch, 'batch')}"
    print(text)
    write_table(args.out, text, dict(title=title, by_size=_plain(by_size), by_batch=_plain(by_batch)))
    write_bytes(args.out.with_name(args.out.name + ".png"), draw(by_size, by_batch))


def _measure(args: argparse.Namespace, size: int, batch: int, device: str) -> Point:
    """Time all methods and their encoders, interleaved, at one image size and batch size."""
    images = torch.randn(batch, 3, size, size, device=device)
    works = []
    with tempfile.TemporaryDirectory() as folder:
        for path in args.configs:
            method = MODELS.build(load_method(path, Path(folder), size)).to(device).train()
            name = f"{Path(path).parent.name} {Path(path).stem}"
            step = step_of(method, images, args.dtype)
            try:
                step()
            except ValueError as error:
                print(f"skipped {name} at {size} pixels: {error}")
                continue
            works.append(Work(name, step, batch))
            works.append(Work(f"{name}, encoder", _encoder_step(method, images, args.dtype), batch))
        timings = measure(works, args.repeats, device)
    print(
        f"{size} pixels, batch {batch}: {', '.join(f'{t.median:.2f} s' for t in timings)}", flush=True
    )
    return Point(size, batch, {timing.name: timing for timing in timings})


def _encoder_step(method: Method, images: torch.Tensor, dtype: str) -> Callable[[], None]:
    """Forward and backward pass of the encoder on the visible patches."""
    mask = method.draw_mask(images)

    def step() -> None:
        with autocast(images, dtype):
            tokens = method.encode(images, mask)
        tokens.float().square().sum().backward()
        method.zero_grad(set_to_none=True)

    return step


def _table(points: list[Point], key: str) -> str:
    rows = [["", *(f"{key} {getattr(point, key)}" for point in points)], ["---"] * (len(points) + 1)]
    for name in points[0].timings:
        rows.append([name, *(_cell(point.timings.get(name)) for point in points)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cell(timing: Timing | None) -> str:
    return f"{_per_image(timing):.3f}" if timing else ""


def _per_image(timing: Timing) -> float:
    return timing.median / timing.images


def _plain(points: list[Point]) -> list[dict]:
    return [asdict(point) for point in points]


def draw(by_size: list[Point], by_batch: list[Point]) -> bytes:
    """A PNG of two panels. Solid lines are whole steps, dashed lines of the same color the encoders."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
    for axis, points, key, label in (
        (axes[0], by_size, "size", f"image size, batch {by_size[0].batch}"),
        (axes[1], by_batch, "batch", f"batch, {by_batch[0].size} pixels"),
    ):
        for i, name in enumerate(points[0].timings):
            known = [point for point in points if name in point.timings]
            axis.loglog(
                [getattr(point, key) for point in known],
                [_per_image(point.timings[name]) for point in known],
                color=f"C{i // 2}",
                linestyle="--" if i % 2 else "-",
                marker="o",
                label=name,
            )
        at = [getattr(point, key) for point in points]
        axis.set_xticks(at, at)
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.set(xlabel=label, ylabel="seconds per image")
        axis.grid(alpha=0.3)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small"
    )
    plt.close(figure)
    return figure_png(figure)
