"""From JPEG files to a batch, on one core."""

import argparse
from pathlib import Path

import torch
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from timing import Work, measure, write

import mmmim  # noqa: F401
from mmmim.data import UnlabelledImages
from mmmim.data.unlabelled import list_images

FLIP = dict(type="torchvision/RandomHorizontalFlip")
WHOLE = [  # torchvision's own steps, one after another
    dict(type="torchvision/RandomResizedCrop", size=224, scale=(0.2, 1.0), interpolation="bicubic"),
    FLIP,
    dict(type="torchvision/PILToTensor"),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="of JPEG files as they came")
    parser.add_argument("--against", choices=["mmpretrain"], nargs="+", default=[])
    parser.add_argument("--limit", type=int, default=100, help="images of the folder")


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if not args.folder.is_dir():
        parser.error(f"no folder '{args.folder}'")


def run(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)  # as in a loader's worker
    files = list_images(args.folder)[: args.limit]
    ours = {
        "ours, MAE's crop": dict(pipeline=[dict(type="RandomResizedCrop", size=224), FLIP]),
        "ours, PixMIM's crop": dict(pipeline=[dict(type="SimpleResizedCrop", size=224), FLIP]),
        "ours, MAE's crop, cached": dict(
            pipeline=[dict(type="RandomResizedCrop", size=224), FLIP], cache_gb=8
        ),
        "decoded whole, torchvision's crop": dict(pipeline=WHOLE),
    }
    works = []
    for name, options in ours.items():
        data = UnlabelledImages(str(args.folder), **options)
        works.append(Work(name, lambda data=data: [data[i] for i in range(len(files))], len(files)))
    if args.against:
        pipeline, paths = _mmpretrain(), [dict(img_path=str(file)) for file in files]
        theirs = lambda: [pipeline(dict(path)) for path in paths]  # noqa: E731
        works.append(Work("mmpretrain's MAE", theirs, len(files)))
    timings = measure(works, args.repeats, "cpu")
    title = f"{len(files)} JPEG files of {args.folder.name} to 224 pixels, one thread"
    write(title, timings, out=args.out)


def _mmpretrain() -> Compose:
    """mmpretrain configs/_base_/datasets/imagenet_bs512_mae.py."""
    import mmpretrain.datasets  # noqa: F401  registers them

    steps = [
        dict(type="LoadImageFromFile"),
        dict(
            type="RandomResizedCrop",
            scale=224,
            crop_ratio_range=(0.2, 1.0),
            backend="pillow",
            interpolation="bicubic",
        ),
        dict(type="RandomFlip", prob=0.5),
        dict(type="PackInputs"),
    ]
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return Compose(steps)
