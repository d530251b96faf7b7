"""Run a step of a training again: its images, its loss and its gradients.

For a step that was skipped (`skipped_steps.jsonl` in the work dir). The config is that of the work dir,
the weights are those of its newest checkpoint before the step. In pretraining on one GPU, images, crops
and masks are exactly those of the step, on several GPUs the images and crops of one of them; labelled
images are augmented anew. With accumulated gradients it is one of the steps of an update. Example:

  mmmim replay work_dirs/mae/vit-b 12345
"""

import argparse
from pathlib import Path

from mmmim.cli.arguments import add_cfg_options, add_trust
from mmmim.engine.replay import replay


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("work_dir", metavar="WORK_DIR", type=Path, help="work dir of the training")
    parser.add_argument(
        "step", metavar="STEP", type=int, help="number of the step, as the log gives it"
    )
    parser.add_argument(
        "--checkpoint", type=Path, metavar="PATH", help="weights, instead of the newest before the step"
    )
    add_cfg_options(parser)
    add_trust(parser)


def run(args: argparse.Namespace) -> None:
    replay(args.work_dir, args.step, args.checkpoint, args.cfg_options)
