"""Evaluate a detector, segmenter or classifier.

Example:

  mmmim test detection/vit-b_mask-rcnn_coco work_dirs/detection/vit-b_mask-rcnn_coco/iter_184375.pth
"""

import argparse

from mmmim.cli.arguments import add_config, add_run_arguments, set_local_rank
from mmmim.engine import RunOptions, load_config, run_test


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        "checkpoint",
        help="checkpoint that `mmmim train` wrote with this config, or the official file of the "
        "same model",
    )
    add_run_arguments(parser)
    parser.add_argument("--out", metavar="FILE", help="write all predictions to this .pkl file")


def run(args: argparse.Namespace) -> None:
    set_local_rank(args)
    cfg = load_config(args.config, args.cfg_options, args.launcher, args.work_dir)
    run_test(cfg, RunOptions(checkpoint=args.checkpoint, out=args.out))
