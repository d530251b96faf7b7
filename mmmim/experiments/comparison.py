"""Does pretraining pay? Fine-tune from a checkpoint and from scratch, several seeds, one table.

python tools/compare.py NAME [--pretrain CONFIG] [--checkpoint PATH] [--at EPOCH ...] [--seeds N ...]
    [--detection CONFIG] [--segmentation CONFIG] [--data DIR] [--out DIR]

Pretrains with CONFIG on the embedded scenes, or takes the weights of PATH, then fine-tunes detection
and segmentation from them and from scratch, with the same budget, on the few labelled scenes. With
--at, the checkpoints of these epochs are compared too: the curve of gain against pretraining time.
Interrupted, it goes on where it stood; what is finished is not run again, and scratch is shared by
all methods with the same transfer configs. The curve's earlier epochs take the first seed alone.
Writes OUT/NAME.md and OUT/NAME.png.
"""

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from experiment import Training, run_all
from files import figure_png, write_whole
from matplotlib import pyplot as plt

from mmmim.data.scenes import ScenesSpec, make_scenes

TINY = Path(__file__).parent.parent / "configs/tiny"
TASKS = {"detection": ("box AP", "mask AP"), "segmentation": ("mIoU",)}


@dataclass(frozen=True)
class Start:
    """Where a backbone starts from.

    Attributes:
        name: of its row.
        checkpoint: None is scratch.
        epoch: of pretraining, for the curve.
        seeds: that fine-tune from it.
    """

    name: str
    checkpoint: Path | None
    epoch: int
    seeds: tuple[int, ...]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the row and the files, such as pixmim_vit")
    parser.add_argument("--pretrain", default=str(TINY / "pixmim_vit_scenes.py"))
    parser.add_argument("--checkpoint", type=Path, help="take these weights, do not pretrain")
    parser.add_argument("--at", type=int, nargs="*", default=[], help="epochs of the curve")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--detection", default=str(TINY / "mask-rcnn_vit_scenes.py"))
    parser.add_argument("--segmentation", default=str(TINY / "upernet_vit_scenes.py"))
    parser.add_argument("--data", type=Path, default=Path("data/scenes"))
    parser.add_argument("--out", type=Path, default=Path("work_dirs/compare"))
    return parser.parse_args()


def main() -> None:
    args = parse_args()
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
    write_whole(args.out / f"{args.name}.md", text)
    draw_curve(table, args.out / f"{args.name}.png")
    print(text)
    print(f"wrote {args.out / args.name}.md and .png")


def _pretrained_starts(args: argparse.Namespace, environment: dict[str, str]) -> list[Start]:
    if args.checkpoint:
        return [Start(args.name, args.checkpoint, 1, tuple(args.seeds))]
    training = Training(f"pretrain {args.name}", args.pretrain, args.out / args.name / "pretrain")
    keep = ("default_hooks.checkpoint.interval=10", "default_hooks.checkpoint.max_keep_ckpts=-1")
    run_all([Training(training.name, training.config, training.work_dir, keep)], environment)
    last = training.checkpoint()
    epochs = sorted({*args.at, int(last.stem.removeprefix("epoch_"))})
    files = [training.work_dir / f"epoch_{epoch}.pth" for epoch in epochs]
    if missing := [str(f) for f in files if not f.is_file()]:
        raise FileNotFoundError(f"--at takes multiples of 10 up to the last epoch; no {missing}")
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
    """Mean and range over the seeds per start and metric, and the gain over scratch's same seeds."""
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
    """Each metric against epochs of pretraining; epoch 0 is scratch, bars are the seeds' range."""
    metrics = list(next(iter(table.values())))
    figure, axes = plt.subplots(1, len(metrics), figsize=(4 * len(metrics), 3.2))
    for axis, metric in zip(axes, metrics, strict=True):
        epochs = [start.epoch for start in table]
        means = [statistics.mean(values[metric]) for values in table.values()]
        below = [m - min(v[metric]) for m, v in zip(means, table.values(), strict=True)]
        above = [max(v[metric]) - m for m, v in zip(means, table.values(), strict=True)]
        axis.errorbar(epochs, means, yerr=[below, above], marker="o", capsize=3)
        axis.set(title=metric, xlabel="epochs of pretraining (0: scratch)", ylabel="percent")
        axis.set_ylim(bottom=0)
    figure.tight_layout()
    write_whole(path, figure_png(figure))


if __name__ == "__main__":
    main()
