"""Timing pieces of work in turn, and a table of what was seen: shared by benchmark.py's parts."""

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
from files import write_table
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

WARM_UP = 2
COMPILED = ", compiled"  # ends the name of a step that is another one, compiled
# Dense bfloat16 tensor operations per second, as NVIDIA's data sheets give them.
# By what torch calls the GPU, the longer name first.
PUBLISHED_PEAKS = {
    "H200 NVL": 835e12,
    "H200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
}
# Which side of a matrix product is fastest depends on the CPU's caches.
CPU_SIDES = (512, 768, 1024, 2048)


@dataclass(frozen=True)
class Work:
    """Something to time.

    Attributes:
        name: for the table.
        run: does it once.
        images: that it handles.
    """

    name: str
    run: Callable[[], object]
    images: int


@dataclass
class Timing:
    """What was seen of a `Work`.

    Attributes:
        name: of the work.
        images: that one run handles.
        seconds: of each run, without the warm-up.
        flops: of one run, None where they were not counted.
        waiting: share of the time that went into waiting for images, where they came from a loader.
        held_mib: what autograd keeps for the backward pass, parameters among it.
        peak_mib: memory that a run adds on a GPU.
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
        return statistics.median(self.seconds)


def measure(works: Sequence[Work], repeats: int, device: str) -> list[Timing]:
    """Run all in turn, `repeats` times: other load on the machine meets all.

    All models lie in memory together, so a run's memory is counted without any model's weights.
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
    """`measure` of training steps of `images` each, with their operations and what autograd keeps.

    Neither can be seen of a compiled step: it is said to have the operations of the eager one.
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
    # Fused attention on a CPU is not known to torch's counter; its plain form is. A GPU's fused forms
    # are known, and the plain one might not fit.
    on_gpu = torch.cuda.is_available()
    with counter, nullcontext() if on_gpu else sdpa_kernel(SDPBackend.MATH):
        run()
    return float(counter.get_total_flops())


def _backward_of_convolution(
    gradient, x, weight, bias, stride, padding, dilation, transposed, out_padding, groups, wanted, **_
) -> int:
    """From shapes; torch's own formula (2.11) takes a depthwise convolution's for a dense one's."""
    forward = 2 * math.prod(x if transposed else gradient) * math.prod(weight[1:])
    return forward * (wanted[0] + wanted[1])


def held_mib(run: Callable[[], object]) -> float:
    """MiB of tensors that autograd keeps from the forward to the backward pass, each storage once."""
    storages: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(storages.values()) / 2**20


def peak_flops(device: str, dtype: torch.dtype) -> tuple[float, str]:
    """Operations per second that this device can do, and where the number is from."""
    if device == "cuda" and dtype == torch.bfloat16:
        for name, peak in PUBLISHED_PEAKS.items():
            if name in torch.cuda.get_device_name():
                return peak, f"{name}'s published {peak / 1e12:.0f} TFLOP/s in bfloat16"
    sides = (8192,) if device == "cuda" else CPU_SIDES
    peak, side = max((_product_flops(side, device, dtype), side) for side in sides)
    return peak, f"the {peak / 1e12:.3g} TFLOP/s of a {side}x{side} matrix product in {dtype}, here"


def _product_flops(side: int, device: str, dtype: torch.dtype) -> float:
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    (timing,) = measure([Work("product", lambda: a @ b, 1)], 9, device)
    return 2 * side**3 / min(timing.seconds)


def machine() -> str:
    """The machine and the software, in a line."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    cores, threads = len(os.sched_getaffinity(0)), torch.get_num_threads()
    return f"{platform.machine()}, {cores} cores, {threads} threads, {gpu}, torch {torch.__version__}"


def table(timings: Sequence[Timing], peak: tuple[float, str] | None = None) -> str:
    """Markdown; ratios are to the first row, by the median of the rounds' ratios."""
    first = timings[0]
    columns: dict[str, Callable[[Timing], str]] = {
        "": lambda t: t.name,
        "a run": lambda t: f"{_ms(t.median)} ms ({_ms(min(t.seconds))} to {_ms(max(t.seconds))})",
        "images/s": lambda t: f"{t.images / t.median:.1f}",
        "time of the first's": lambda t: f"{_ratio(t, first):.2f}",
    }
    if any(t.waiting is not None for t in timings):
        columns["waits for images"] = lambda t: f"{t.waiting:.1%}" if t.waiting is not None else ""
    if any(t.held_mib is not None for t in timings):
        columns["held for backward"] = lambda t: f"{t.held_mib:.0f} MiB" if t.held_mib else ""
    if any(t.peak_mib is not None for t in timings):
        columns["peak memory"] = lambda t: f"{t.peak_mib:.0f} MiB"
    if peak is not None:
        columns["share of peak"] = lambda t: f"{t.flops / t.median / peak[0]:.0%}" if t.flops else ""
    rows = [list(columns), ["---"] * len(columns)]
    rows += [[cell(timing) for cell in columns.values()] for timing in timings]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if peak is not None:
        lines += ["", f"Share of {peak[1]}."]
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
    """Print the table, and write OUT.md and OUT.json."""
    text = f"{title}\n{machine()}\n\n{table(timings, peak)}"
    print(text)
    if out is None:
        return
    write_table(
        out,
        text,
        dict(title=title, machine=machine(), peak=peak, timings=[asdict(timing) for timing in timings]),
    )
