"""Measure a training step of pretraining: forward and backward pass.

Uses random images; with --images also real ones, with the share of time spent waiting for them.
Compares several configs; or one config with a clone of the method's official repository or with
mmpretrain (--against); or one config at several --mask-ratios. Also times parts of a method that can
run alone: MaskAlign's teacher (with random weights if its file is missing) and PixMIM's filter.
"""

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

from mmmim.backbones.conv_vit import SIZES
from mmmim.benchmark.peers import MMPRETRAIN, OFFICIAL
from mmmim.benchmark.timing import COMPILED, WARM_UP, Timing, measure_steps, peak_flops, write
from mmmim.engine import find_config
from mmmim.engine.config import backbone_config
from mmmim.masking import random_mask
from mmmim.methods import Method
from mmmim.registry import MODELS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "configs",
        nargs="+",
        metavar="config",
        help="pretraining method: a config file, or the name of a packaged one (mae/vit-b)",
    )
    other = parser.add_mutually_exclusive_group()
    other.add_argument(
        "--against",
        nargs="+",
        default=[],
        help="compare with a clone of the official repository, with 'mmpretrain', or with both",
    )
    other.add_argument(
        "--mask-ratios", type=float, nargs="+", help="compare these mask ratios, such as 0.5 0.75"
    )
    parser.add_argument(
        "--size", type=int, help="side of the images in pixels (default: that of the config)"
    )
    parser.add_argument("--batch", type=int, default=8, help="images per step (default: 8)")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="float32, or autocast to bfloat16 (default: float32)",
    )
    parser.add_argument(
        "--compile", action="store_true", help="also time every model with torch.compile"
    )
    parser.add_argument(
        "--optimizer",
        action="store_true",
        help="include the AdamW update: fused for ours, torch's default for others",
    )
    parser.add_argument(
        "--images",
        type=Path,
        help="folder of images; also time the first config on them, loaded by its own dataloader",
    )
    parser.add_argument(
        "--workers", type=int, default=2, help="workers of that dataloader (default: 2)"
    )


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if len(args.configs) > 1 and (args.against or args.mask_ratios):
        parser.error(f"--against and --mask-ratios take one config, got {len(args.configs)}")
    if args.images and not args.images.is_dir():
        parser.error(f"--images: the folder '{args.images}' does not exist")
    if args.images and args.size:
        parser.error("--images are loaded in the config's size: remove --size")
    if sum(name != "mmpretrain" for name in args.against) > 1:
        parser.error("--against takes at most one repository, and 'mmpretrain'")


def run(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        models = {path: load_method(path, Path(folder), args.size) for path in args.configs}
        _run(args, models)


def _run(args: argparse.Namespace, models: dict[str, dict]) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = {path: backbone_config(model).get("img_size", 224) for path, model in models.items()}
    size = sizes[args.configs[0]]
    if set(sizes.values()) != {size}:
        raise ValueError(f"the configs must have the same image size, got {sizes}: set --size")
    images = torch.randn(args.batch, 3, size, size, device=device)
    steps = _steps(args, models, images)
    timings = measure_steps(steps, args.batch, args.repeats, device)
    if args.images:
        timings.append(_measure_fed(args, models[args.configs[0]], device))
    title = f"{args.configs[0]}: batch {args.batch}, {size} pixels, {args.dtype}"
    write(title, timings, peak_flops(device, getattr(torch, args.dtype)), args.out)


def load_method(path: str, folder: Path, size: int | None = None) -> dict:
    """The model of a config, at image side `size` if given.

    A missing file of a teacher is replaced by one with random weights in `folder`.
    """
    model = Config.fromfile(find_config(path)).model
    if size:
        backbone_config(model).img_size = size
        if "teacher" in model:
            model.teacher.img_size = model.teacher.get("img_size", 224) * size // 224
    if "teacher" in model and not Path(model.teacher.checkpoint).is_file():
        model.teacher.checkpoint = str(folder / f"{model.teacher.name}.pth")
        torch.save(MODELS.build(model).teacher.model.state_dict(), model.teacher.checkpoint)
    return model


def _steps(
    args: argparse.Namespace, models: dict[str, dict], images: torch.Tensor
) -> dict[str, Callable[[], None]]:
    """Name -> step to time; the others are compared with the first."""
    device, (model, *others) = images.device, models.values()
    if others:
        named = {
            f"{Path(path).parent.name}/{Path(path).stem}": MODELS.build(m) for path, m in models.items()
        }
    elif args.mask_ratios:
        named = {f"ratio {r:g}": _build_at_ratio(model, r) for r in args.mask_ratios}
    else:
        named = {"ours": MODELS.build(model), **_peers(args.against, model)}
    named = {name: m.to(device).train() for name, m in named.items()}
    adam = {name: _adamw(name, m) for name, m in named.items()} if args.optimizer else {}
    steps = {name: step_of(m, images, args.dtype, adam.get(name)) for name, m in named.items()}
    for name, m in named.items():
        if isinstance(m, Method):
            for part, run_part in m.timed_parts(images).items():
                steps[f"{part} of {name}"] = _with_autocast(run_part, images, args.dtype)
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
    """The implementations of `--against`, by name.

    Raises:
        ValueError: the config is not of size base at 224 pixels, or they lack its method.
    """
    backbone = backbone_config(model)
    if names and (backbone.get("arch") != "base" or backbone.get("img_size") != 224):
        raise ValueError(
            "--against compares models of size base at 224 pixels, got "
            f"arch={backbone.get('arch')!r}, img_size={backbone.get('img_size')}: choose another config"
        )
    peers = {}
    for name in names:
        known = MMPRETRAIN if name == "mmpretrain" else OFFICIAL
        method = model["type"]
        if method not in known or model.get("method", {}).get("type", "MAE") != "MAE":
            raise ValueError(
                f"--against {name} supports {', '.join(known)} (PixMIM only on MAE), got {method}"
                f"{' on ' + model.method.type if 'method' in model else ''}"
            )
        build = known[method]
        peers |= {"mmpretrain": build()} if name == "mmpretrain" else {"official": build(Path(name))}
    return peers


def _adamw(name: str, model: torch.nn.Module) -> torch.optim.Optimizer:
    """AdamW as each trains with: fused for ours (`LayerDecayOptimWrapperConstructor`), else default."""
    fused = None if name in ("official", "mmpretrain") else True
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=1e-6, betas=(0.9, 0.95), fused=fused)


def step_of(
    model: torch.nn.Module,
    images: torch.Tensor,
    dtype: str,
    optimizer: torch.optim.Optimizer | None = None,
) -> Callable[[], None]:
    """A training step: forward and backward pass, and the update if there is an optimizer."""

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
    """Time steps of the first config on images that its own dataloader loads in the background."""
    loader = Config.fromfile(find_config(args.configs[0])).train_dataloader
    loader.update(batch_size=args.batch, num_workers=args.workers)
    loader.dataset.update(data_root=str(args.images), data_prefix="")
    with DefaultScope.overwrite_default_scope("mmmim"):
        built = Runner.build_dataloader(loader, seed=0)
    if not len(built):
        raise ValueError(
            f"'{args.images}' has {len(built.dataset)} images, but a batch takes {args.batch}: choose "
            "a larger folder, or a smaller --batch"
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


def _build_at_ratio(model: dict, mask_ratio: float) -> Method:
    """The method with another mask ratio, which PixMIM passes to its inner method."""
    if "method" in model:
        return MODELS.build({**model, "method": {**model["method"], "mask_ratio": mask_ratio}})
    return MODELS.build({**model, "mask_ratio": mask_ratio})


def _with_autocast(
    run_part: Callable[[], object], images: torch.Tensor, dtype: str
) -> Callable[[], None]:
    """`run_part` under autocast."""

    def step() -> None:
        with autocast(images, dtype):
            run_part()

    return step


def _convolutional_stages(model: dict) -> torch.nn.Module:
    """The backbone of a ConvMAE config without its transformer blocks."""
    arch = model["backbone"].get("arch", "base")
    size = SIZES[arch] if isinstance(arch, str) else arch
    arch = {**size, "depths": (*size["depths"][:2], 0)}
    return MODELS.build({**model["backbone"], "arch": arch})


def _encoder_step(
    backbone: torch.nn.Module, images: torch.Tensor, ratio: float, dtype: str
) -> Callable[[], None]:
    """Forward and backward pass of a backbone on the visible patches of random masks."""
    length = backbone.grid_size[0] * backbone.grid_size[1]

    def step() -> None:
        mask = random_mask(len(images), length, ratio, images.device)
        with autocast(images, dtype):
            tokens = backbone.encode_visible(images, mask)
        tokens.float().square().sum().backward()
        backbone.zero_grad(set_to_none=True)

    return step


def autocast(images: torch.Tensor, dtype: str) -> torch.autocast:
    """Autocast to bfloat16 on the device of `images`; disabled for float32."""
    mixed = dtype == "bfloat16"
    return torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=mixed)
