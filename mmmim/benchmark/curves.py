"""What an image costs against its size and the batch, of the encoder and of the whole method."""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import torch
from benchmark_step import autocast, load_method, step_of
from files import figure_png, write_table, write_whole
from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator
from timing import Timing, Work, machine, measure

from mmmim.methods import MaskAlign, MixMIM
from mmmim.methods.base import Method
from mmmim.registry import MODELS


@dataclass(frozen=True)
class Point:
    """What was measured at one image size and batch; a method that refuses a size has no timing."""

    size: int
    batch: int
    timings: dict[str, Timing]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("configs", nargs="+", help="of pretraining methods")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[224, 448, 672, 896, 1024], help="at the first batch"
    )
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[1, 2, 4, 8], help="at the first size"
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.out is None:
        parser.error("curves are drawn into a file: give --out PREFIX")


def run(args: argparse.Namespace) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    by_size = [_measure(args, size, args.batches[0], device) for size in args.sizes]
    more = [_measure(args, args.sizes[0], batch, device) for batch in args.batches[1:]]
    by_batch = [by_size[0], *more]
    title = f"Seconds an image, {args.dtype}, {machine()}"
    text = f"{title}\n\n{_table(by_size, 'size')}\n{_table(by_batch, 'batch')}"
    print(text)
    write_table(args.out, text, dict(title=title, by_size=_plain(by_size), by_batch=_plain(by_batch)))
    write_whole(args.out.with_name(args.out.name + ".png"), draw(by_size, by_batch))


def _measure(args: argparse.Namespace, size: int, batch: int, device: str) -> Point:
    """All methods and their encoders in turn, at one size and batch."""
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
                print(f"{name} is left out at {size} pixels: {error}")
                continue
            works.append(Work(name, step, batch))
            works.append(Work(f"{name}, encoder", _encoder_step(method, images, args.dtype), batch))
        timings = measure(works, args.repeats, device)
    print(
        f"{size} pixels, batch {batch}: {', '.join(f'{t.median:.2f} s' for t in timings)}", flush=True
    )
    return Point(size, batch, {timing.name: timing for timing in timings})


def _encoder_step(method: Method, images: torch.Tensor, dtype: str) -> Callable[[], None]:
    def step() -> None:
        with autocast(images, dtype):
            tokens = encode(method, images)
        tokens.float().square().sum().backward()
        method.zero_grad(set_to_none=True)

    return step


def encode(method: Method, images: torch.Tensor) -> torch.Tensor:
    """What the encoder makes of masked images in pretraining."""
    if isinstance(method, MixMIM):
        return method.backbone.encode_visible(images, *method.draw_mask(images))
    if isinstance(method, MaskAlign):
        shown = method.student.draw_mask(images, method.mask_ratio, None)
        return method.student.states(method.backbone, images, shown)[-1]
    return method.encode(images, method.draw_masks(images), method.count_visible(images))


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
    """A PNG of two panels; whole methods are solid, their encoders dashed in the same colour."""
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
        axis.set(xlabel=label, ylabel="seconds an image")
        axis.grid(alpha=0.3)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small"
    )
    plt.close(figure)
    return figure_png(figure)
