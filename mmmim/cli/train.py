"""Pretrain a method, or train a detector, segmenter or classifier.

The config decides which. Examples:

  mmmim train mae/vit-b --epochs 800
  mmmim train detection/vit-b_mask-rcnn_coco --pretrained work_dirs/mae/vit-b/epoch_1600.pth
  tools/dist_train.sh configs/maskalign/vit-b.py 8 --epochs 800

Data roots are environment variables (IMAGENET, COCO, ADE20K, IMAGES), or --cfg-options.
"""

import argparse

from mmmim.cli.arguments import add_config, add_run_arguments, set_local_rank
from mmmim.engine import RunOptions, load_config, run_train
from mmmim.methods.maskalign import TEACHERS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add_run_arguments(parser)
    start = parser.add_argument_group("start")
    start.add_argument(
        "--pretrained",
        metavar="PATH",
        help="checkpoint that the backbone starts from, in any format that `mmmim convert` reads",
    )
    start.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="PATH",
        help="continue the last checkpoint of the work dir, or the one at PATH",
    )
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="length of the run; rescales the schedules and the checkpoint interval. The warm-up keeps "
        "its length, unless that exceeds half the run",
    )
    recipe.add_argument(
        "--teacher", choices=TEACHERS, help="teacher of MaskAlign, instead of the recipe's"
    )
    recipe.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="images per process and step. Gradients are accumulated up to the recipe's batch, as with "
        "--keep-batch, unless --auto-scale-lr is given",
    )
    batch = recipe.add_mutually_exclusive_group()
    batch.add_argument(
        "--keep-batch",
        action="store_true",
        help="accumulate gradients up to the recipe's batch, on any number of processes; batch "
        "size times processes must divide that batch",
    )
    batch.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate to the batch of this run instead",
    )
    parser.add_argument("--no-validate", action="store_true", help="do not evaluate during training")
    speed = parser.add_argument_group("speed and memory")
    speed.add_argument(
        "--amp",
        action="store_true",
        help="mixed precision on GPUs, for configs with a plain OptimWrapper (our recipes have "
        "it already)",
    )
    # FSDP gathers blocks one by one, compilation wants one graph.
    whole = speed.add_mutually_exclusive_group()
    whole.add_argument(
        "--fsdp", action="store_true", help="shard weights and optimizer state over the processes"
    )
    whole.add_argument(
        "--compile", action="store_true", help="torch.compile the method, or the backbone in transfer"
    )


def run(args: argparse.Namespace) -> None:
    set_local_rank(args)
    options = RunOptions(
        teacher=args.teacher,
        epochs=args.epochs,
        batch_size=args.batch_size,
        resume=args.resume,
        pretrained=args.pretrained,
        amp=args.amp,
        fsdp=args.fsdp,
        compile=args.compile,
        validate=not args.no_validate,
        auto_scale_lr=args.auto_scale_lr,
        keep_batch=args.keep_batch,
    )
    # Runs of one recipe with other teachers or epochs get work dirs of their own.
    suffix = f"_{args.teacher}" if args.teacher else ""
    suffix += "" if args.epochs is None else f"_{args.epochs}e"
    cfg = load_config(args.config, args.cfg_options, args.launcher, args.work_dir, suffix)
    run_train(cfg, options)
