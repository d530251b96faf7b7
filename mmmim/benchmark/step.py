"""A training step of pretraining."""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from peers import MMPRETRAIN, OFFICIAL
from timing import COMPILED, WARM_UP, Timing, measure_steps, peak_flops, write

import mmmim  # noqa: F401  registers the methods
from mmmim.backbones.conv_vit import SIZES
from mmmim.masking import count_visible, random_mask
from mmmim.methods import MaskAlign
from mmmim.registry import MODELS
from mmmim.targets import LowFrequencyTarget


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("configs", nargs="+", help="of pretraining methods")
    other = parser.add_mutually_exclusive_group()
    other.add_argument(
        "--against", nargs="+", default=[], help="clone of the official repository, or 'mmpretrain'"
    )
    other.add_argument("--mask-ratios", type=float, nargs="+")
    parser.add_argument("--size", type=int, help="of the images; the config's where left out")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--compile", action="store_true", help="all by torch.compile too")
    parser.add_argument(
        "--optimizer", action="store_true", help="with AdamW, fused in ours, torch's default in peers"
    )
    parser.add_argument(
        "--images", type=Path, help="folder; also ours on what the config's loader makes of it"
    )
    parser.add_argument("--workers", type=int, default=2, help="of that loader")


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if len(args.configs) > 1 and (args.against or args.mask_ratios):
        parser.error("--against and --mask-ratios take one config")
    if args.images and not args.images.is_dir():
        parser.error(f"no folder '{args.images}'")
    if args.images and args.size:
        parser.error("--images come in the config's size: leave --size out")
    if sum(name != "mmpretrain" for name in args.against) > 1:
        parser.error("--against takes one repository at a time, and mmpretrain")


def run(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        models = {path: load_method(path, Path(folder), args.size) for path in args.configs}
        _run(args, models)


def _run(args: argparse.Namespace, models: dict[str, dict]) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = {path: _backbone(model).get("img_size", 224) for path, model in models.items()}
    size = sizes[args.configs[0]]
    if set(sizes.values()) != {size}:
        raise ValueError(f"configs of one image size can be compared, got {sizes}")
    images = torch.randn(args.batch, 3, size, size, device=device)
    steps = _steps(args, models, images)
    timings = measure_steps(steps, args.batch, args.repeats, device)
    if args.images:
        timings.append(_measure_fed(args, models[args.configs[0]], device))
    title = f"{args.configs[0]}: batch {args.batch}, {size} pixels, {args.dtype}"
    write(title, timings, peak_flops(device, getattr(torch, args.dtype)), args.out)


def _backbone(model: dict) -> dict:
    return model.get("host", model).backbone


def load_method(path: str, folder: Path, size: int | None = None) -> dict:
    """The model of a config; a teacher whose file is not there gets one of random weights."""
    model = Config.fromfile(path).model
    if size:
        _backbone(model).img_size = size
        if "teacher" in model:
            model.teacher.img_size = model.teacher.get("img_size", 224) * size // 224
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
    adam = {name: _adamw(name, m) for name, m in named.items()} if args.optimizer else {}
    steps = {name: step_of(m, images, args.dtype, adam.get(name)) for name, m in named.items()}
    for name, m in named.items():
        if isinstance(m, MaskAlign):
            steps[f"teacher of {name}"] = _teacher_step(m, images, args.dtype)
        if isinstance(getattr(m, "target", None), LowFrequencyTarget):
            steps[f"filter of {name}"] = _filter_step(m, images)
    if args.compile:
        for name, m in named.items():
            compiled = torch.compile(m, options=dict(fallback_random=True))
            steps[name + COMPILED] = step_of(compiled, images, args.dtype, adam.get(name))
    if args.mask_ratios and model["type"] == "ConvMAE":
        backbone = _convolutional_stages(model).to(device).train()
        for ratio in args.mask_ratios:
            steps[f"stages at {ratio:g}"] = _encoder_step(backbone, images, ratio, args.dtype)
    return steps


def _peers(names: list[str], model: dict) -> dict[str, torch.nn.Module]:
    backbone = _backbone(model)
    if names and (backbone.get("arch") != "base" or backbone.get("img_size") != 224):
        raise ValueError("--against compares base sizes at 224 pixels; take such a config")
    peers = {}
    for name in names:
        known = MMPRETRAIN if name == "mmpretrain" else OFFICIAL
        method = model["type"]
        if method not in known or model.get("host", {}).get("type", "MAE") != "MAE":
            raise ValueError(
                f"--against {name} knows {', '.join(known)}, of PixMIM the one over MAE; got {method}"
                f"{' over ' + model.host.type if 'host' in model else ''}"
            )
        build = known[method]
        peers |= {"mmpretrain": build()} if name == "mmpretrain" else {"official": build(Path(name))}
    return peers


def _adamw(name: str, model: torch.nn.Module) -> torch.optim.Optimizer:
    """Ours as `LayerDecayOptimWrapperConstructor` builds it, a peer's as its code does."""
    fused = None if name in ("official", "mmpretrain") else True
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=1e-6, betas=(0.9, 0.95), fused=fused)


def step_of(
    model: torch.nn.Module,
    images: torch.Tensor,
    dtype: str,
    optimizer: torch.optim.Optimizer | None = None,
) -> Callable[[], None]:
    """Forward and backward pass, and the optimiser's if one is given."""

    def step() -> None:
        with autocast(images, dtype):
            output = model(images)
        loss = output["loss"] if isinstance(output, dict) else output[0]
        loss.backward()
        if optimizer:
            optimizer.step()
        model.zero_grad(set_to_none=True)

    return step


def _measure_fed(args: argparse.Namespace, model: dict, device: str) -> Timing:
    """The first config's steps, one after another, on images that its own loader reads meanwhile."""
    loader = Config.fromfile(args.configs[0]).train_dataloader
    loader.update(batch_size=args.batch, num_workers=args.workers)
    loader.dataset.update(data_root=str(args.images), data_prefix="")
    with DefaultScope.overwrite_default_scope("mmmim"):
        built = Runner.build_dataloader(loader, seed=0)
    if not len(built):
        raise ValueError(
            f"'{args.images}' has {len(built.dataset)} images, a batch takes {args.batch}: give a "
            "folder of more, or a smaller --batch"
        )
    batches = itertools.chain.from_iterable(itertools.repeat(built))
    method = MODELS.build(model).to(device).train()
    timing = Timing(f"ours, from {args.images.name}, {args.workers} workers", args.batch)
    waited = 0.0
    for round_ in range(WARM_UP + args.repeats):
        start = time.perf_counter()
        batch = next(batches)
        arrived = time.perf_counter()
        images = method.data_preprocessor(batch, training=True)["inputs"]
        step_of(method, images, args.dtype)()
        if device == "cuda":
            torch.cuda.synchronize()
        if round_ >= WARM_UP:
            waited += arrived - start
            timing.seconds.append(time.perf_counter() - start)
    timing.waiting = waited / sum(timing.seconds)
    return timing


def _teacher_step(method: MaskAlign, images: torch.Tensor, dtype: str) -> Callable[[], None]:
    """What a step of MaskAlign spends on its teacher."""

    @torch.no_grad()
    def step() -> None:
        with autocast(images, dtype):
            states = method.teacher(images)
            importance = states.importance() if method.attentive else None
            shown = method.student.draw_mask(images, method.mask_ratio, importance)
            method.student.targets(states, shown)

    return step


def _filter_step(method: torch.nn.Module, images: torch.Tensor) -> Callable[[], None]:
    """What PixMIM adds to a step of its host."""
    return lambda: method.target.low_pass(images)


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
        with autocast(images, dtype):
            tokens = backbone.encode_visible(images, mask, count_visible(length, ratio))
        tokens.float().square().sum().backward()
        backbone.zero_grad(set_to_none=True)

    return step


def autocast(images: torch.Tensor, dtype: str) -> torch.autocast:
    mixed = dtype == "bfloat16"
    return torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=mixed)
