"""Measure data loading on one core, from JPEG files to a batch.

Times the pipelines of MAE and PixMIM, MAE's with cached images, and MAE's with torchvision's
transforms; with --against mmpretrain, also mmpretrain's pipeline for MAE.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from mmengine.dataset import Compose, default_collate
from mmengine.registry import DefaultScope

from mmmim.benchmark.timing import Work, measure, write
from mmmim.data import UnlabelledImages
from mmmim.data.unlabelled import list_images

MAE_CROP, WHOLE_CROP = "ours, MAE's crop", "decoded whole, torchvision's crop"
FLIP = dict(type="torchvision/RandomHorizontalFlip")
WHOLE = [  # torchvision's transforms, on the whole decoded image
    dict(type="torchvision/RandomResizedCrop", size=224, scale=(0.2, 1.0), interpolation="bicubic"),
    FLIP,
    dict(type="torchvision/PILToTensor"),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="folder of JPEG files in their original size")
    parser.add_argument(
        "--against",
        choices=["mmpretrain"],
        nargs="+",
        default=[],
        help="also time mmpretrain's pipeline for MAE (default: only ours)",
    )
    parser.add_argument(
        "--limit", type=int, default=100, help="number of images to load (default: 100)"
    )


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if not args.folder.is_dir():
        parser.error(f"the image folder '{args.folder}' does not exist")


def run(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)  # as in a dataloader worker
    files = list_images(args.folder)[: args.limit]
    with tempfile.TemporaryDirectory() as folder:
        for i, file in enumerate(files):
            (Path(folder) / f"{i:06d}{file.suffix}").symlink_to(file.resolve())
        _run(args, folder, len(files))


def _run(args: argparse.Namespace, folder: str, count: int) -> None:
    ours = {
        MAE_CROP: dict(pipeline=[dict(type="RandomResizedCrop", size=224), FLIP]),
        "ours, PixMIM's crop": dict(pipeline=[dict(type="SimpleResizedCrop", size=224), FLIP]),
        "ours, MAE's crop, cached": dict(
            pipeline=[dict(type="RandomResizedCrop", size=224), FLIP], cache_gb=8
        ),
        WHOLE_CROP: dict(pipeline=WHOLE),
    }
    sets = {name: UnlabelledImages(folder, **options) for name, options in ours.items()}
    items = {name: data.__getitem__ for name, data in sets.items()}
    if args.against:
        pipeline, paths = _mmpretrain(), [str(file) for file in list_images(Path(folder))]
        items["mmpretrain's MAE"] = lambda i: pipeline(dict(img_path=paths[i]))
    works = [
        Work(name, lambda item=item: default_collate([item(i) for i in range(count)]), count)
        for name, item in items.items()
    ]
    timings = measure(works, args.repeats, "cpu")
    title = f"{count} JPEG files of {args.folder.name} to a batch of 224 pixels, one thread"
    write(title, timings, out=args.out)
    mean, largest = _difference(sets[MAE_CROP], sets[WHOLE_CROP], count)
    print(
        f"Mean absolute difference of '{MAE_CROP}' and '{WHOLE_CROP}', in pixel values of 0 to 255: "
        f"{mean:.2f} over all images, {largest:.2f} over the image with the largest."
    )


def _difference(ours: UnlabelledImages, whole: UnlabelledImages, count: int) -> tuple[float, float]:
    """Mean absolute pixel difference at equal draws: over all images, and the largest of an image."""
    means = torch.stack(
        [(ours[i]["inputs"].float() - whole[i]["inputs"].float()).abs().mean() for i in range(count)]
    )
    return means.mean().item(), means.max().item()


def _mmpretrain() -> Compose:
    """The pipeline of mmpretrain configs/_base_/datasets/imagenet_bs512_mae.py."""
    import mmpretrain.datasets  # noqa: F401  registers the transforms

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
