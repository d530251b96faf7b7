"""Train any config of any task.

python tools/train.py CONFIG [--work-dir DIR] [--resume [PATH]] [--pretrained PATH] [--amp]
    [--fsdp | --compile] [--no-validate] [--auto-scale-lr | --keep-batch] [--cfg-options KEY=VALUE ...]
    [--launcher pytorch]
"""

import mmmim  # noqa: F401  (first: it makes mmcv's operators importable)
from mmmim import launch


def parse_args():
    parser = launch.common_arguments(__doc__.splitlines()[0])
    parser.add_argument("--pretrained", help="checkpoint to start the backbone from, any format")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        help="continue from PATH, or from the last checkpoint of the work dir",
    )
    whole = parser.add_mutually_exclusive_group()  # blocks that are gathered one by one, or one graph
    whole.add_argument("--fsdp", action="store_true", help="share weights out over processes")
    whole.add_argument("--compile", action="store_true", help="by torch.compile: method or backbone")
    parser.add_argument("--amp", action="store_true", help="mixed precision (GPUs only)")
    parser.add_argument("--no-validate", action="store_true", help="do not evaluate on the way")
    batch = parser.add_mutually_exclusive_group()
    batch.add_argument(
        "--auto-scale-lr", action="store_true", help="scale the learning rate to the real batch"
    )
    batch.add_argument("--keep-batch", action="store_true", help="accumulate up to the recipe's batch")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = launch.load_config(args)
    launch.set_resume(cfg, args.resume)
    if args.pretrained:
        launch.set_pretrained(cfg, args.pretrained)
    if args.amp:
        launch.set_amp(cfg)
    if args.fsdp:
        launch.set_fsdp(cfg)
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.auto_scale_lr:
        launch.set_auto_scale_lr(cfg)
    if args.keep_batch:
        world_size = 1 if args.launcher == "none" else launch.launched_processes()
        launch.set_keep_batch(cfg, world_size)
    launch.check_batch_norm(cfg)
    runner = launch.build_runner(cfg)
    launch.start_method(runner)
    if args.compile:
        launch.compile_model(runner)
    runner.logger.info(launch.describe_batch(cfg, runner.world_size))
    runner.train()


if __name__ == "__main__":
    main()
