"""How fast is a training step, against what else one could run?

python tools/benchmark.py CONFIG ... [--against {FOLDER,mmpretrain} ...] [--mask-ratios R ...]
    [--batch N] [--dtype {float32,bfloat16}] [--repeats N] [--threads N]

Forward, backward, on a GPU where there is one, on random images of the config's size. Several configs,
or with --against a clone of the method's official repository or mmpretrain's implementation, take turns
in the same process: other load on the machine meets all. With --mask-ratios, ours alone at each ratio,
and of ConvMAE also its convolutional stages alone. Of MaskAlign, also its teacher alone (with random
weights where its file is not there), and of PixMIM the filter that it adds to its host.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine import Config
from peers import MMPRETRAIN, OFFICIAL

import mmmim  # noqa: F401  registers the methods
from mmmim.backbones.conv_vit import SIZES
from mmmim.masking import random_mask
from mmmim.methods import MaskAlign
from mmmim.registry import MODELS
from mmmim.targets import LowFrequencyTarget

WARM_UP = 2


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="+", help="of pretraining methods")
    other = parser.add_mutually_exclusive_group()
    other.add_argument(
        "--against", nargs="+", default=[], help="clone of the official repository, or 'mmpretrain'"
    )
    other.add_argument("--mask-ratios", type=float, nargs="+")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, help="of the CPU; torch's default where left out")
    args = parser.parse_args()
    if len(args.configs) > 1 and (args.against or args.mask_ratios):
        parser.error("--against and --mask-ratios take one config")
    return args


def main() -> None:
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        _run(args, {path: _method(path, Path(folder)) for path in args.configs})


def _run(args: argparse.Namespace, models: dict[str, dict]) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = {
        path: model.get("host", model).backbone.get("img_size", 224) for path, model in models.items()
    }
    size = sizes[args.configs[0]]
    if set(sizes.values()) != {size}:
        raise ValueError(f"configs of one image size can be compared, got {sizes}")
    images = torch.randn(args.batch, 3, size, size, device=device)
    steps = _steps(args, models, images)
    times, memory = measure(steps, args.repeats, device)

    where = (
        torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    )
    print(f"{args.configs[0]}: batch {args.batch}, {size} pixels, {args.dtype}, {where}")
    first = statistics.median(next(iter(times.values())))
    for name, seconds in times.items():
        median = statistics.median(seconds)
        spread = f"{1e3 * min(seconds):.1f} to {1e3 * max(seconds):.1f}"
        print(
            f"{name:>28}: {1e3 * median:9.1f} ms a step ({spread}), {median / first:.2f} of the first, "
            f"{saved_bytes(steps[name]) / 2**20:.0f} MiB held for the backward pass"
            + (f", {memory[name] / 2**20:.0f} MiB at its peak" if device == "cuda" else "")
        )


def _method(path: str, folder: Path) -> dict:
    """The model of a config; a teacher whose file is not there gets one of random weights."""
    model = Config.fromfile(path).model
    if "teacher" in model and not Path(model.teacher.checkpoint).is_file():
        model.teacher.checkpoint = str(folder / f"{model.teacher.name}.pth")
        torch.save(MODELS.build(model).teacher.model.state_dict(), model.teacher.checkpoint)
    return model


def _steps(
    args: argparse.Namespace, models: dict[str, dict], images: torch.Tensor
) -> dict[str, Callable[[], None]]:
    """What to run in turn, by name; the first is what the others are compared with."""
    device, (model, *others) = images.device, models.values()
    if others:
        named = {
            f"{Path(path).parent.name}/{Path(path).stem}": MODELS.build(m) for path, m in models.items()
        }
    elif args.mask_ratios:
        named = {f"ratio {r:g}": MODELS.build({**model, "mask_ratio": r}) for r in args.mask_ratios}
    else:
        named = {"ours": MODELS.build(model), **_peers(args.against, model)}
    named = {name: m.to(device).train() for name, m in named.items()}
    steps = {name: _step(m, images, args.dtype) for name, m in named.items()}
    for name, m in named.items():
        if isinstance(m, MaskAlign):
            steps[f"teacher of {name}"] = _teacher_step(m, images, args.dtype)
        if isinstance(getattr(m, "target", None), LowFrequencyTarget):
            steps[f"filter of {name}"] = _filter_step(m, images)
    if args.mask_ratios and model["type"] == "ConvMAE":
        backbone = _convolutional_stages(model).to(device).train()
        for ratio in args.mask_ratios:
            steps[f"stages at {ratio:g}"] = _encoder_step(backbone, images, ratio, args.dtype)
    return steps


def _peers(names: list[str], model: dict) -> dict[str, torch.nn.Module]:
    backbone = model.get("backbone", {})
    if names and (backbone.get("arch") != "base" or backbone.get("img_size") != 224):
        raise ValueError("--against compares base sizes at 224 pixels; take such a config")
    peers = {}
    for name in names:
        known = MMPRETRAIN if name == "mmpretrain" else OFFICIAL
        if model["type"] not in known:
            raise ValueError(f"--against {name} knows {', '.join(known)}, got {model['type']}")
        build = known[model["type"]]
        peers |= {"mmpretrain": build()} if name == "mmpretrain" else {"official": build(Path(name))}
    return peers


def _step(model: torch.nn.Module, images: torch.Tensor, dtype: str) -> Callable[[], None]:
    """One training step without the optimiser, whose work is the same for all."""

    def step() -> None:
        mixed = dtype == "bfloat16"
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=mixed):
            output = model(images)
        loss = output["loss"] if isinstance(output, dict) else output[0]
        loss.backward()
        model.zero_grad(set_to_none=True)

    return step


def _teacher_step(method: MaskAlign, images: torch.Tensor, dtype: str) -> Callable[[], None]:
    """What a step of MaskAlign spends on its teacher."""

    @torch.no_grad()
    def step() -> None:
        mixed = dtype == "bfloat16"
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=mixed):
            states = method.teacher(images)
            importance = states.importance() if method.attentive else None
            mask = method.student.draw_mask(images, method.mask_ratio, importance)
            method.student.targets(states, mask)

    return step


def _filter_step(method: torch.nn.Module, images: torch.Tensor) -> Callable[[], None]:
    """What PixMIM adds to a step of its host."""
    return lambda: method.target.low_pass(images)


def saved_bytes(step: Callable[[], None]) -> int:
    """Bytes of tensors that autograd keeps from the forward to the backward pass, each storage once.

    Parameters are among them.
    """
    storages: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    return sum(storages.values())


def _convolutional_stages(model: dict) -> torch.nn.Module:
    """The backbone of a ConvMAE config without its transformer blocks."""
    arch = model["backbone"].get("arch", "base")
    size = SIZES[arch] if isinstance(arch, str) else arch
    arch = {**size, "depths": (*size["depths"][:2], 0)}
    return MODELS.build({**model["backbone"], "arch": arch})


def _encoder_step(
    backbone: torch.nn.Module, images: torch.Tensor, ratio: float, dtype: str
) -> Callable[[], None]:
    length = backbone.grid[0] * backbone.grid[1]

    def step() -> None:
        mask = random_mask(len(images), length, ratio, images.device)
        mixed = dtype == "bfloat16"
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=mixed):
            tokens = backbone.encode_visible(images, mask)
        tokens.float().square().sum().backward()
        backbone.zero_grad(set_to_none=True)

    return step


def measure(
    steps: dict[str, Callable[[], None]], repeats: int, device: str
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds of each step in `repeats` rounds, taken in turn, and the bytes that it adds on a GPU.

    All models lie in memory together, so a step's memory is counted without any model's weights.
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    memory: dict[str, int] = {}
    for round_ in range(WARM_UP + repeats):
        for name, step in steps.items():
            if device == "cuda":
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
            start = time.perf_counter()
            step()
            if device == "cuda":
                torch.cuda.synchronize()
                memory[name] = torch.cuda.max_memory_allocated() - before
            if round_ >= WARM_UP:
                times[name].append(time.perf_counter() - start)
    return times, memory


if __name__ == "__main__":
    main()
