"""Interleaved timing of several candidates, and a table of the results."""

import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmmim.atomic import write_table

WARM_UP = 2  # rounds before the measured ones
COMPILED = ", compiled"  # suffix of the name of a compiled step
# Dense bfloat16 tensor operations per second from NVIDIA's data sheets, by a part of torch's name of
# the GPU. Longer names come first.
PUBLISHED_PEAKS = {
    "H200 NVL": 835e12,
    "H200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
}
# Sides of the matrix products that measure a CPU's peak; the fastest depends on its caches.
CPU_SIDES = (512, 768, 1024, 2048)


@dataclass(frozen=True)
class Work:
    """A candidate to time.

    Attributes:
        name: its name in the table.
        run: runs it once.
        images: number of images per run.
    """

    name: str
    run: Callable[[], object]
    images: int


@dataclass
class Timing:
    """Measurements of a `Work`.

    Attributes:
        name: name of the work.
        images: number of images per run.
        seconds: duration of each run after the warm-up.
        flops: operations per run; None if not counted.
        waiting: share of the time spent waiting for images; None without a dataloader.
        held_mib: MiB that autograd saves for the backward pass, parameters included; None if not
            counted.
        peak_mib: MiB that a run adds on a GPU, at its peak; None on a CPU.
    """

    name: str
    images: int
    seconds: list[float] = field(default_factory=list)
    flops: float | None = None
    waiting: float | None = None
    held_mib: float | None = None
    peak_mib: float | None = None

    @property
    def median(self) -> float:
        """Median of `seconds`."""
        return statistics.median(self.seconds)


def measure(works: Sequence[Work], repeats: int, device: str) -> list[Timing]:
    """Run all works in turn, `repeats` times, so that background load affects all equally.

    The models of all works are in memory, so the peak memory of a run excludes weights.
    """
    timings = [Timing(work.name, work.images) for work in works]
    for round_ in range(WARM_UP + repeats):
        for work, timing in zip(works, timings, strict=True):
            if device == "cuda":
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
            start = time.perf_counter()
            work.run()
            if device == "cuda":
                torch.cuda.synchronize()
                timing.peak_mib = (torch.cuda.max_memory_allocated() - before) / 2**20
            if round_ >= WARM_UP:
                timing.seconds.append(time.perf_counter() - start)
    return timings


def measure_steps(
    steps: dict[str, Callable[[], object]], images: int, repeats: int, device: str
) -> list[Timing]:
    """`measure` training steps of `images` images each; also count operations and saved memory.

    Neither can be counted in a compiled step, which gets the operations of its eager counterpart.
    """
    timings = measure([Work(name, step, images) for name, step in steps.items()], repeats, device)
    for timing in timings:
        eager = timing.name.removesuffix(COMPILED)
        timing.flops = count_flops(steps[eager])
        timing.held_mib = held_mib(steps[eager]) if eager == timing.name else None
    return timings


def count_flops(run: Callable[[], object]) -> float:
    """Operations of matrix products and convolutions in one run, two per multiply-add."""
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.convolution_backward: _backward_of_convolution}
    )
    # torch's counter does not know the fused attention of CPUs, so the plain form is counted there. It
    # knows that of GPUs, where the plain form may not fit into memory.
    on_gpu = torch.cuda.is_available()
    with counter, nullcontext() if on_gpu else sdpa_kernel(SDPBackend.MATH):
        run()
    return float(counter.get_total_flops())


def _backward_of_convolution(
    gradient, x, weight, bias, stride, padding, dilation, transposed, out_padding, groups, wanted, **_
) -> int:
    """Operations from shapes; torch's formula (2.11) counts a depthwise convolution as a dense one."""
    forward = 2 * math.prod(x if transposed else gradient) * math.prod(weight[1:])
    return forward * (wanted[0] + wanted[1])


def held_mib(run: Callable[[], object]) -> float:
    """MiB that autograd saves from the forward to the backward pass; each storage counts once."""
    storages: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(storages.values()) / 2**20


def peak_flops(device: str, dtype: torch.dtype) -> tuple[float, str]:
    """Peak operations per second of this device, and the source of the number.

    Published for known GPUs in bfloat16, otherwise measured with matrix products.
    """
    if device == "cuda" and dtype == torch.bfloat16:
        for name, peak in PUBLISHED_PEAKS.items():
            if name in torch.cuda.get_device_name():
                return peak, f"the published {peak / 1e12:.0f} TFLOP/s of {name} in bfloat16"
    sides = (8192,) if device == "cuda" else CPU_SIDES
    peak, side = max((_product_flops(side, device, dtype), side) for side in sides)
    return peak, f"{peak / 1e12:.3g} TFLOP/s, measured with a {side}x{side} matrix product in {dtype}"


def _product_flops(side: int, device: str, dtype: torch.dtype) -> float:
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    (timing,) = measure([Work("product", lambda: a @ b, 1)], 9, device)
    return 2 * side**3 / min(timing.seconds)


def machine() -> str:
    """This machine and its software, in one line."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    cores, threads = len(os.sched_getaffinity(0)), torch.get_num_threads()
    return f"{platform.machine()}, {cores} cores, {threads} threads, {gpu}, torch {torch.__version__}"


def table(timings: Sequence[Timing], peak: tuple[float, str] | None = None) -> str:
    """Markdown table. Relative times are the median over rounds of the ratio to the first row."""
    first = timings[0]
    columns: dict[str, Callable[[Timing], str]] = {
        "": lambda t: t.name,
        "time per run": lambda t: (
            f"{_ms(t.median)} ms ({_ms(min(t.seconds))} to {_ms(max(t.seconds))})"
        ),
        "images/s": lambda t: f"{t.images / t.median:.1f}",
        "relative time": lambda t: f"{_ratio(t, first):.2f}",
    }
    if any(t.waiting is not None for t in timings):
        columns["waiting for images"] = lambda t: f"{t.waiting:.1%}" if t.waiting is not None else ""
    if any(t.held_mib is not None for t in timings):
        columns["saved for backward"] = lambda t: f"{t.held_mib:.0f} MiB" if t.held_mib else ""
    if any(t.peak_mib is not None for t in timings):
        columns["peak memory"] = lambda t: f"{t.peak_mib:.0f} MiB"
    if peak is not None:
        columns["share of peak"] = lambda t: f"{t.flops / t.median / peak[0]:.0%}" if t.flops else ""
    rows = [list(columns), ["---"] * len(columns)]
    rows += [[cell(timing) for cell in columns.values()] for timing in timings]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if peak is not None:
        lines += ["", f"Peak: {peak[1]}."]
    return "\n".join(lines) + "\n"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.1f}"


def _ratio(timing: Timing, first: Timing) -> float:
    return statistics.median(a / b for a, b in zip(timing.seconds, first.seconds, strict=True))


def write(
    title: str,
    timings: Sequence[Timing],
    peak: tuple[float, str] | None = None,
    out: Path | None = None,
) -> None:
    """Print the table; with `out`, also write OUT.md and OUT.json."""
    text = f"{title}\n{machine()}\n\n{table(timings, peak)}"
    print(text)
    if out is None:
        return
    write_table(
        out,
        text,
        dict(title=title, machine=machine(), peak=peak, timings=[asdict(timing) for timing in timings]),
    )
