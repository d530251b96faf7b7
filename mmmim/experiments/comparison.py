"""Compare fine-tuning from a pretrained checkpoint with training from scratch, over several seeds."""

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path

import matplotlib

from mmmim.atomic import write_bytes, write_text
from mmmim.engine.config import config_folder
from mmmim.experiments.training import Training, run_all
from mmmim.visualization import figure_png

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from mmmim.data.synthetic import ScenesSpec, make_scenes

TINY = config_folder() / "tiny"
TASKS = {"detection": ("box AP", "mask AP"), "segmentation": ("mIoU",)}


@dataclass(frozen=True)
class Start:
    """The initial weights of a backbone.

    Attributes:
        name: name of the table row.
        checkpoint: file of the weights; None is scratch.
        epoch: epochs of pretraining, the x value of the curve.
        seeds: seeds of the fine-tuning runs.
    """

    name: str
    checkpoint: Path | None
    epoch: int
    seeds: tuple[int, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", help="name of the table row and of the output files, such as pixmim_vit"
    )
    parser.add_argument(
        "--pretrain",
        metavar="CONFIG",
        default=str(TINY / "pixmim_vit_scenes.py"),
        help="pretraining config (default: the packaged tiny/pixmim_vit_scenes)",
    )
    parser.add_argument("--checkpoint", type=Path, help="start from these weights, without pretraining")
    parser.add_argument(
        "--at",
        metavar="EPOCH",
        type=int,
        nargs="*",
        default=[],
        help="also compare the checkpoints of these epochs, multiples of 10 (default: the last alone)",
    )
    parser.add_argument(
        "--seeds",
        metavar="SEED",
        type=int,
        nargs="+",
        default=[0, 1, 2],
        help="seeds of the fine-tuning runs (default: 0 1 2)",
    )
    parser.add_argument(
        "--detection",
        metavar="CONFIG",
        default=str(TINY / "mask-rcnn_vit_scenes.py"),
        help="detection config (default: the packaged tiny/mask-rcnn_vit_scenes)",
    )
    parser.add_argument(
        "--segmentation",
        metavar="CONFIG",
        default=str(TINY / "upernet_vit_scenes.py"),
        help="segmentation config (default: the packaged tiny/upernet_vit_scenes)",
    )
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        type=Path,
        default=Path("data/scenes"),
        help="folder of the synthetic scenes, drawn if missing (default: data/scenes)",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        default=Path("work_dirs/compare"),
        help="folder of the runs, the table and the curve (default: work_dirs/compare)",
    )


def run(args: argparse.Namespace) -> None:
    make_scenes(args.data, ScenesSpec())
    environment = dict(SCENES=str(args.data))
    scratch = Start("scratch", None, 0, tuple(args.seeds))
    starts = [scratch, *_pretrained_starts(args, environment)]
    trainings = [
        _fine_tuning(args, start, task, seed)
        for seed in args.seeds
        for task in TASKS
        for start in starts
        if seed in start.seeds
    ]
    results = dict(zip(trainings, run_all(trainings, environment), strict=True))

    table = {
        start: {
            metric: [results[_fine_tuning(args, start, task, s)].metrics[metric] for s in start.seeds]
            for task, metrics in TASKS.items()
            for metric in metrics
        }
        for start in starts
    }
    text = markdown(table)
    write_text(args.out / f"{args.name}.md", text)
    draw_curve(table, args.out / f"{args.name}.png")
    print(text)
    print(f"wrote {args.out / args.name}.md and .png")


def _pretrained_starts(args: argparse.Namespace, environment: dict[str, str]) -> list[Start]:
    """Pretrain, unless a checkpoint is given; only the last epoch is fine-tuned with all seeds."""
    if args.checkpoint:
        return [Start(args.name, args.checkpoint, 1, tuple(args.seeds))]
    training = Training(f"pretrain {args.name}", args.pretrain, args.out / args.name / "pretrain")
    keep = ("default_hooks.checkpoint.interval=10", "default_hooks.checkpoint.max_keep_ckpts=-1")
    run_all([Training(training.name, training.config, training.work_dir, keep)], environment)
    last = training.checkpoint()
    epochs = sorted({*args.at, int(last.stem.removeprefix("epoch_"))})
    files = [training.work_dir / f"epoch_{epoch}.pth" for epoch in epochs]
    if missing := [str(f) for f in files if not f.is_file()]:
        raise FileNotFoundError(
            "--at takes multiples of 10 up to the last epoch, whose checkpoints exist, but there is no "
            f"{', '.join(missing)}"
        )
    return [
        Start(
            f"{args.name}, {epoch} epochs",
            file,
            epoch,
            tuple(args.seeds) if epoch == epochs[-1] else tuple(args.seeds[:1]),
        )
        for epoch, file in zip(epochs, files, strict=True)
    ]


def _fine_tuning(args: argparse.Namespace, start: Start, task: str, seed: int) -> Training:
    config = getattr(args, task)
    owner = args.name if start.checkpoint else "scratch"
    stem = f"{Path(config).stem}_{start.checkpoint.stem if start.checkpoint else ''}_seed{seed}"
    return Training(
        f"{task} from {start.name}, seed {seed}",
        config,
        args.out / owner / stem,
        (f"randomness.seed={seed}",),
        start.checkpoint,
    )


def markdown(table: dict[Start, dict[str, list[float]]]) -> str:
    """Table of mean and range over seeds per start and metric, with the gain over scratch.

    The gain compares equal seeds.
    """
    metrics = list(next(iter(table.values())))
    lines = [
        f"| from | seeds | {' | '.join(metrics)} |",
        f"|---|---|{'---|' * len(metrics)}",
    ]
    scratch = next(values for start, values in table.items() if start.checkpoint is None)
    for start, values in table.items():
        cells = []
        for metric in metrics:
            mean = statistics.mean(values[metric])
            cell = f"{mean:.1f}"
            if len(values[metric]) > 1:
                cell += f" ({min(values[metric]):.1f} to {max(values[metric]):.1f})"
            if start.checkpoint:
                same_seeds = scratch[metric][: len(start.seeds)]
                cell += f", gain {mean - statistics.mean(same_seeds):+.1f}"
            cells.append(cell)
        lines.append(f"| {start.name} | {len(start.seeds)} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "Percent: mean (lowest to highest) over the seeds.", ""])


def draw_curve(table: dict[Start, dict[str, list[float]]], path: Path) -> None:
    """Plot each metric over pretraining epochs.

    Epoch 0 is scratch; error bars are the range over seeds.
    """
    metrics = list(next(iter(table.values())))
    figure, axes = plt.subplots(1, len(metrics), figsize=(4 * len(metrics), 3.2))
    for axis, metric in zip(axes, metrics, strict=True):
        epochs = [start.epoch for start in table]
        means = [statistics.mean(values[metric]) for values in table.values()]
        below = [m - min(v[metric]) for m, v in zip(means, table.values(), strict=True)]
        above = [max(v[metric]) - m for m, v in zip(means, table.values(), strict=True)]
        axis.errorbar(epochs, means, yerr=[below, above], marker="o", capsize=3)
        axis.set(title=metric, xlabel="pretraining epochs (0: scratch)", ylabel="percent")
        axis.set_ylim(bottom=0)
    figure.tight_layout()
    write_bytes(path, figure_png(figure))
