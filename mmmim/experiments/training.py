"""Training runs of an experiment: each runs once, is resumed after an interruption, and is measured."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mmmim.atomic import write_text

TRAIN = (sys.executable, "-m", "mmmim", "train")
# Scalar of mmengine's log -> (name in the tables, factor to percent).
METRICS = {
    "coco/bbox_mAP": ("box AP", 100),
    "coco/segm_mAP": ("mask AP", 100),
    "mIoU": ("mIoU", 1),
}


@dataclass(frozen=True)
class Training:
    """One call of `mmmim train`.

    Attributes:
        name: its name in progress bars and errors.
        config: the config: a file, or the name of a packaged one.
        work_dir: its work dir; `result.json` is written there at the end.
        options: values of --cfg-options, "key=value" each.
        pretrained: checkpoint that the backbone starts from, or None.
    """

    name: str
    config: str
    work_dir: Path
    options: tuple[str, ...] = ()
    pretrained: Path | None = None

    def command(self) -> list[str]:
        """The command line."""
        command = [*TRAIN, self.config, "--work-dir", str(self.work_dir)]
        if self.pretrained:
            command += ["--pretrained", str(self.pretrained)]
        if self.options:
            command += ["--cfg-options", *self.options]
        return command

    def checkpoint(self) -> Path:
        """Path of the last checkpoint, once there is one."""
        return Path((self.work_dir / "last_checkpoint").read_text().strip())


@dataclass(frozen=True)
class Result:
    """Result of a finished training.

    Attributes:
        metrics: name -> value of the last evaluation, in percent.
        losses: (step, loss) of the log.
        seconds: time spent in training steps, summed over interruptions.
        memory_mb: peak resident memory of the training process, in MiB.
        command: command line without the Python interpreter.
    """

    metrics: dict[str, float]
    losses: list[tuple[int, float]]
    seconds: float
    memory_mb: float
    command: list[str] = field(default_factory=list)


class TrainingFailed(RuntimeError):
    """A training ended with an error, or its work dir holds another one."""


def run_all(trainings: list[Training], environment: dict[str, str]) -> list[Result]:
    """Run trainings in parallel, one per core, with a progress bar each; skip finished ones.

    Args:
        trainings: what to run.
        environment: environment variables to set, besides those of this process.

    Returns:
        their results, in the same order.

    Raises:
        TrainingFailed: a training failed, raised when the others have finished; or a work dir holds
            the result of another command.
    """
    cores = min(len(os.sched_getaffinity(0)), len(trainings))
    threads = max(len(os.sched_getaffinity(0)) // cores, 1)
    environment = {**os.environ, **environment, "OMP_NUM_THREADS": str(threads)}
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, TimeElapsedColumn()) as progress, ThreadPoolExecutor(cores) as pool:
        futures = []
        for training in trainings:
            task = progress.add_task(training.name, total=1, note="", start=False)
            futures.append(pool.submit(_run, training, environment, progress, task))
        return [future.result() for future in futures]


def _run(training: Training, environment: dict, progress: Progress, task) -> Result:
    result_file = training.work_dir / "result.json"
    command = training.command()
    progress.start_task(task)
    if result_file.is_file():
        result = _load(result_file)
        _check_same(training.work_dir, result.command, command[1:])
        progress.update(task, completed=1, note="already done")
        return result
    training.work_dir.mkdir(parents=True, exist_ok=True)
    begun = training.work_dir / "command.json"  # the command, in case the training is interrupted
    if begun.is_file():
        _check_same(training.work_dir, json.loads(begun.read_text()), command[1:])
    write_text(begun, json.dumps(command[1:]))
    if (training.work_dir / "last_checkpoint").is_file():
        command.insert(len(TRAIN) + 1, "--resume")  # before --work-dir, so that it takes no path
        progress.update(task, note="resumed")
    log = training.work_dir / "log.txt"
    with log.open("a") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        finished = threading.Event()
        watcher = threading.Thread(target=_watch, args=(training, progress, task, finished))
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        finished.set()
        watcher.join()
    if status != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        raise TrainingFailed(f"'{training.name}' failed; the end of {log}:\n{tail}")
    result = _summarize(training, usage.ru_maxrss / 1024)
    _save(result, result_file)
    progress.update(task, completed=1, note=_headline(result))
    return result


def _check_same(work_dir: Path, begun: list[str], wanted: list[str]) -> None:
    if begun != wanted:
        raise TrainingFailed(
            f"'{work_dir}' holds the result of another command:\n  {' '.join(begun)}\nrequested:\n"
            f"  {' '.join(wanted)}\nChoose another name or folder, or delete this one"
        )


def _watch(training: Training, progress: Progress, task, finished: threading.Event) -> None:
    """Update the progress bar from the log until the training has finished."""
    while not finished.wait(2):
        records = read_scalars(training.work_dir)
        steps = [r for r in records if "loss" in r]
        if steps:
            last = steps[-1]
            total = _total_steps(training.work_dir, last)
            progress.update(task, completed=last["step"] / total, note=f"loss {last['loss']:.3f}")


def _total_steps(work_dir: Path, record: dict) -> float:
    """Steps of the whole run, from mmengine's estimate of the remaining time."""
    eta = _last_eta(work_dir)
    return record["step"] + max(eta / max(record.get("time", 1.0), 1e-3), 1)


def _last_eta(work_dir: Path) -> float:
    """Seconds left, from the last line of the log with an ETA; 0 without one."""
    text = (work_dir / "log.txt").read_text(errors="replace")
    _, found, rest = text.rpartition("eta: ")
    if not found:
        return 0.0
    clock = rest.split("  ", 1)[0].split(", ")[-1]
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return hours * 3600 + minutes * 60 + seconds


def read_scalars(work_dir: Path) -> list[dict]:
    """All records that mmengine logged in `work_dir`, in the order of its runs."""
    records = []
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in file.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:  # a line cut by an interruption
                continue
    return records


def _summarize(training: Training, memory_mb: float) -> Result:
    """Read the result of a training from its logs."""
    steps: dict[int, dict] = {}
    metrics: dict[str, float] = {}
    for record in read_scalars(training.work_dir):
        if "loss" in record:
            steps[record["step"]] = record  # steps repeated after resuming count once
        for key, (name, factor) in METRICS.items():
            if key in record:
                metrics[name] = round(record[key] * factor, 2)
    ordered = sorted(steps)
    seconds, previous = 0.0, 0
    for step in ordered:
        seconds += steps[step]["time"] * (step - previous)
        previous = step
    losses = [(step, steps[step]["loss"]) for step in ordered]
    return Result(metrics, losses, round(seconds, 1), round(memory_mb), training.command()[1:])


def _headline(result: Result) -> str:
    """The metrics, or the last loss, for the progress bar."""
    if result.metrics:
        return ", ".join(f"{name} {value:.1f}" for name, value in result.metrics.items())
    return f"loss {result.losses[-1][1]:.3f}" if result.losses else ""


def _save(result: Result, path: Path) -> None:
    write_text(path, json.dumps(asdict(result), indent=1))


def _load(path: Path) -> Result:
    content = json.loads(path.read_text())
    content["losses"] = [tuple(pair) for pair in content["losses"]]
    return Result(**content)
