"""The demo: PixMIM on synthetic scenes, then Mask R-CNN and UperNet from scratch and from PixMIM."""

import argparse
import os
import shutil
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from torchvision.io import decode_image

from mmmim.data.synthetic import ScenesSpec, make_scenes
from mmmim.engine.config import PACKAGE, config_folder
from mmmim.experiments.report import Section, loss_curves, png, prediction_picture, write_report
from mmmim.experiments.training import Result, Training, run_all

TINY = config_folder() / "tiny"
PRETRAIN = str(TINY / "pixmim_vit_scenes.py")
TASKS = {
    "detection": str(TINY / "mask-rcnn_vit_scenes.py"),
    "segmentation": str(TINY / "upernet_vit_scenes.py"),
}
# Pretraining from scratch takes an hour on two cores before it helps (docs/results.md), so the demo
# continues from shipped weights.
SHIPPED = PACKAGE / "weights/pixmim_vit_scenes.pth"
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("work_dirs/demo"),
        help="folder for data, runs and the report (default: %(default)s)",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="delete the results of an earlier demo first"
    )


def run(args: argparse.Namespace) -> None:
    console = Console()
    began = time.time()
    if args.fresh:
        shutil.rmtree(args.out, ignore_errors=True)

    console.rule("1  synthetic scenes")
    spec = ScenesSpec()
    data = make_scenes(args.out / "scenes", spec)
    console.print(
        f"{data}: {spec.unlabelled + spec.labelled} images without labels, "
        f"{spec.labelled} with labels, {spec.validation} for validation"
    )
    environment = dict(SCENES=str(data))

    console.rule("2  PixMIM on all images")
    console.print(
        f"Continues from {SHIPPED.name}, which this project pretrained on these scenes "
        "(docs/results.md). Pretraining from scratch takes an hour on two cores before it helps."
    )
    pretraining = Training("PixMIM", PRETRAIN, args.out / "pixmim", CONTINUE)
    (pretrained,) = run_all([pretraining], environment)

    console.rule("3  fine-tuning on the labelled images")
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

    console.rule("4  results")
    rows = result_rows(results)
    print_table(console, rows)
    report = args.out / "report.html"
    write(report, rows, pretraining, pretrained, trainings, results, environment)
    console.print(f"Curves, reconstructions and predictions: {report}")
    console.print(f"Took {(time.time() - began) / 60:.1f} minutes.")
    console.print(next_command(), soft_wrap=True)


def result_rows(results: dict[tuple[str, str], Result]) -> list[list[str]]:
    """Header and rows of the table: task and metric, scratch, pretrained, gain."""
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
    """Print the table, with a note on its significance."""
    table = Table(*rows[0], title="64 labelled images, one seed, equal budgets")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows[1:]:
        table.add_row(*row)
    console.print(table)
    console.print(
        "One seed proves little: docs/results.md has three, and the gain over pretraining time."
    )


def write(report, rows, pretraining, pretrained, trainings, results, environment) -> None:
    """Collect the pictures and write the report."""
    os.environ.update(environment)  # the configs read SCENES
    curves = {"PixMIM": {"pretraining": pretrained.losses}}
    sections = []
    for task in TASKS:
        curves[task] = {start: results[task, start].losses for start in STARTS}
    sections.append(Section("Loss", "Training loss over steps.", loss_curves(curves)))
    last = max((pretraining.work_dir / "predictions").glob("*.png"), key=os.path.getmtime)
    sections.append(
        Section(
            "Reconstructions",
            "Original, visible patches, reconstruction, low-frequency target.",
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
        "<p>PixMIM continues from shipped weights on unlabelled scenes. Mask R-CNN and UperNet are "
        "trained on 64 labelled scenes from scratch and from PixMIM, one seed, equal budgets.</p>"
        f"<details><summary>Commands</summary><pre>{commands}</pre></details>"
    )
    write_report(report, "mmmim demo", intro, rows, sections)


def next_command() -> str:
    """The next command to try."""
    return (
        "Next, pretrain on your own images, in a folder of any depth:\n"
        "  IMAGES=/path/to/images mmmim train tiny/pixmim_vit_photos"
    )
