"""Draw the synthetic data set of the demo and the tests.

Scenes without labels, and a few with boxes, masks and semantic maps. The configs in configs/tiny read
them from SCENES (default: data/scenes). Equal numbers give equal files.
"""

import argparse
from dataclasses import fields
from pathlib import Path

from mmmim.data.synthetic import ScenesSpec, make_scenes

HELP = {
    "size": "side of an image in pixels",
    "unlabelled": "images without labels",
    "labelled": "labelled training images",
    "validation": "labelled validation images",
    "seed": "of everything",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", metavar="FOLDER", type=Path, help="folder to write")
    for field in fields(ScenesSpec):
        parser.add_argument(
            f"--{field.name}",
            type=int,
            default=field.default,
            help=f"{HELP[field.name]} (default: {field.default})",
        )


def run(args: argparse.Namespace) -> None:
    numbers = {name: getattr(args, name) for name in HELP}
    root = make_scenes(args.root, ScenesSpec(**numbers))
    print(f"{root}: {', '.join(f'{value} {name}' for name, value in numbers.items())}")
