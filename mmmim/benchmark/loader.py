"""From JPEG files to a batch, on one core."""

import argparse
import tempfile
from pathlib import Path

import torch
from mmengine.dataset import Compose, default_collate
from mmengine.registry import DefaultScope
from timing import Work, measure, write

import mmmim  # noqa: F401
from mmmim.data import UnlabelledImages
from mmmim.data.unlabelled import list_images

MAE_CROP, WHOLE_CROP = "ours, MAE's crop", "decoded whole, torchvision's crop"
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
        f"Pixels of '{MAE_CROP}' differ from those of '{WHOLE_CROP}' by {mean:.2f} of 255 in the mean, "
        f"by {largest:.2f} in the mean of the image that differs most."
    )


def _difference(ours: UnlabelledImages, whole: UnlabelledImages, count: int) -> tuple[float, float]:
    """Mean absolute difference of pixels: of all images, and the largest of one. Same draws."""
    means = torch.stack(
        [(ours[i]["inputs"].float() - whole[i]["inputs"].float()).abs().mean() for i in range(count)]
    )
    return means.mean().item(), means.max().item()


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
