"""Evaluate a detector, segmenter or classifier.

python tools/test.py CONFIG CHECKPOINT [--work-dir DIR] [--out FILE] [--cfg-options KEY=VALUE ...]
    [--launcher pytorch]
"""

import mmmim  # noqa: F401  (first: it makes mmcv's operators importable)
from mmmim import launch


def parse_args():
    parser = launch.common_arguments(__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="checkpoint file of a run of this config")
    parser.add_argument("--out", help="keep all predictions in this .pkl file")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = launch.load_config(args)
    if "test_dataloader" not in cfg:
        raise ValueError(
            f"'{args.config}' has nothing to evaluate: a pretraining config is judged by transfer "
            "(configs/detection, segmentation, classification) and looked at with tools/visualize.py"
        )
    launch.set_tested(cfg, args.checkpoint)
    if args.out:
        dump = dict(type="DumpResults", out_file_path=args.out)
        cfg.test_evaluator = [cfg.test_evaluator, dump]
    runner = launch.build_runner(cfg, ("test_dataloader",))
    launch.load_tested(runner, args.checkpoint)
    runner.test()


if __name__ == "__main__":
    main()
