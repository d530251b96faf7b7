"""Draw the embedded data set: scenes without labels, and a few with boxes, masks and semantic maps.

python tools/make_scenes.py ROOT [--unlabelled N] [--labelled N] [--validation N] [--size N] [--seed N]

What the configs in configs/tiny read from SCENES (data/scenes). Equal numbers give equal files.
"""

import argparse
from dataclasses import fields
from pathlib import Path

from mmmim.data.scenes import ScenesSpec, make_scenes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder to write")
    for field in fields(ScenesSpec):
        parser.add_argument(f"--{field.name}", type=int, default=field.default)
    args = vars(parser.parse_args())
    root = make_scenes(args.pop("root"), ScenesSpec(**args))
    print(f"{root}: {', '.join(f'{value} {name}' for name, value in args.items())}")


if __name__ == "__main__":
    main()
