"""The whole way in minutes: unlabelled scenes, PixMIM, Mask R-CNN and UperNet, one table.

python tools/demo.py [--out DIR] [--fresh]

Run again after an interruption it goes on where it stood; run again after it is done it prints the
table again.
"""

import argparse
import os
import shutil
import time
from pathlib import Path

from experiment import Result, Training, run_all
from report import Section, loss_curves, png, prediction_picture, write_report
from rich.console import Console
from rich.table import Table
from torchvision.io import decode_image

import mmmim
from mmmim.data.scenes import ScenesSpec, make_scenes

ROOT = Path(__file__).parent.parent
TINY = ROOT / "configs/tiny"
PRETRAIN = str(TINY / "pixmim_vit_scenes.py")
TASKS = {
    "detection": str(TINY / "mask-rcnn_vit_scenes.py"),
    "segmentation": str(TINY / "upernet_vit_scenes.py"),
}
# MIM needs an hour on two cores before it pays; the demo continues from weights that took it.
SHIPPED = Path(mmmim.__file__).parent / "weights/pixmim_vit_scenes.pth"
CONTINUE = (
    f"load_from={SHIPPED}",
    "train_cfg.max_epochs=2",
    "optim_wrapper.optimizer.lr=1e-4",
    "param_scheduler.0.end=1",
    "param_scheduler.1.begin=1",
    "param_scheduler.1.end=2",
    "param_scheduler.1.T_max=1",
    "default_hooks.logger.interval=10",
)
STARTS = ("scratch", "pretrained")
METRICS = {"detection": ("box AP", "mask AP"), "segmentation": ("mIoU",)}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("work_dirs/demo"))
    parser.add_argument("--fresh", action="store_true", help="delete earlier results first")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    console = Console()
    began = time.time()
    if args.fresh:
        shutil.rmtree(args.out, ignore_errors=True)

    console.rule("1  scenes")
    spec = ScenesSpec()
    data = make_scenes(args.out / "scenes", spec)
    console.print(
        f"{data}: {spec.unlabelled + spec.labelled} images without labels, "
        f"{spec.labelled} with labels, {spec.validation} to validate on"
    )
    environment = dict(SCENES=str(data))

    console.rule("2  PixMIM on all images")
    console.print(
        f"Continues from {SHIPPED.name}, weights that this project trained on these scenes "
        "(docs/results.md): from nothing, it pays after an hour on two cores, not after minutes."
    )
    pretraining = Training("PixMIM", PRETRAIN, args.out / "pixmim", CONTINUE)
    (pretrained,) = run_all([pretraining], environment)

    console.rule("3  fine-tuning on the few labelled images")
    trainings = {
        (task, start): Training(
            f"{task} from {start}",
            config,
            args.out / f"{task}_{start}",
            ("randomness.seed=0",),
            pretraining.checkpoint() if start == "pretrained" else None,
        )
        for task, config in TASKS.items()
        for start in STARTS
    }
    results = dict(zip(trainings, run_all(list(trainings.values()), environment), strict=True))

    console.rule("4  result")
    rows = result_rows(results)
    print_table(console, rows)
    report = args.out / "report.html"
    write(report, rows, pretraining, pretrained, trainings, results, environment)
    console.print(f"Curves, reconstructions and predictions: {report}")
    console.print(f"Took {(time.time() - began) / 60:.1f} minutes.")
    console.print(next_command(), soft_wrap=True)


def result_rows(results: dict[tuple[str, str], Result]) -> list[list[str]]:
    """Head and rows of the table: scratch beside pretrained."""
    rows = [["", *STARTS, "gain"]]
    for task, metrics in METRICS.items():
        scratch, pretrained = (results[task, start] for start in STARTS)
        for metric in metrics:
            before, after = scratch.metrics[metric], pretrained.metrics[metric]
            rows.append(
                [f"{task}, {metric}", f"{before:.1f}", f"{after:.1f}", f"{after - before:+.1f}"]
            )
        rows.append(
            [f"{task}, training time (s)", *(f"{r.seconds:.0f}" for r in (scratch, pretrained)), ""]
        )
        rows.append(
            [f"{task}, memory (MB)", *(f"{r.memory_mb:.0f}" for r in (scratch, pretrained)), ""]
        )
    return rows


def print_table(console: Console, rows: list[list[str]]) -> None:
    """The table, with a word on what it is worth."""
    table = Table(*rows[0], title="64 labelled images, one seed, the same budget")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows[1:]:
        table.add_row(*row)
    console.print(table)
    console.print(
        "One seed is an anecdote: docs/results.md has three, and the curve over pretraining time."
    )


def write(report, rows, pretraining, pretrained, trainings, results, environment) -> None:
    """Collect the pictures and write the page."""
    os.environ.update(environment)  # the configs read it
    curves = {"PixMIM": {"pretraining": pretrained.losses}}
    sections = []
    for task in TASKS:
        curves[task] = {start: results[task, start].losses for start in STARTS}
    sections.append(Section("Loss", "Training loss over steps.", loss_curves(curves)))
    last = max((pretraining.work_dir / "predictions").glob("*.png"), key=os.path.getmtime)
    sections.append(
        Section(
            "Reconstructions",
            "Original; what the encoder sees; its reconstruction; the low-frequency target.",
            png(decode_image(str(last))),
        )
    )
    for task, config in TASKS.items():
        checkpoints = {start: trainings[task, start].checkpoint() for start in STARTS}
        sections.append(
            Section(
                f"{task.capitalize()} on validation images",
                "From top: image, ground truth, from scratch, from PixMIM.",
                prediction_picture(config, checkpoints),
            )
        )
    commands = "\n".join(" ".join(["python", *r.command]) for r in (pretrained, *results.values()))
    intro = (
        "<p>PixMIM continued on unlabelled scenes from shipped weights; Mask R-CNN and UperNet "
        "fine-tuned from scratch and from it on 64 labelled scenes, one seed, the same budget.</p>"
        f"<details><summary>Commands</summary><pre>{commands}</pre></details>"
    )
    write_report(report, "mmmim: the demo", intro, rows, sections)


def next_command() -> str:
    """What to try next."""
    return (
        "Next, your own images, in a folder of any depth:\n"
        "  IMAGES=/path/to/images .venv/bin/python tools/train.py configs/tiny/pixmim_vit_photos.py"
    )


if __name__ == "__main__":
    main()
