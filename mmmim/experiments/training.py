"""Trainings as steps of an experiment: each is run once, continued when interrupted, and measured.

Shared by demo.py and compare.py.
"""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from files import write_whole
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

TRAIN = Path(__file__).with_name("train.py")
# Scalars of mmengine's log -> what the tables call them, and the factor to percent.
METRICS = {
    "coco/bbox_mAP": ("box AP", 100),
    "coco/segm_mAP": ("mask AP", 100),
    "mIoU": ("mIoU", 1),
}


@dataclass(frozen=True)
class Training:
    """One call of tools/train.py.

    Attributes:
        name: for people.
        config: config file.
        work_dir: where it writes; `result.json` appears there when it is done.
        options: of --cfg-options, "key=value" each.
        pretrained: checkpoint of the backbone, or None.
    """

    name: str
    config: str
    work_dir: Path
    options: tuple[str, ...] = ()
    pretrained: Path | None = None

    def command(self) -> list[str]:
        """The call, as a user would type it."""
        command = [sys.executable, str(TRAIN), self.config, "--work-dir", str(self.work_dir)]
        if self.pretrained:
            command += ["--pretrained", str(self.pretrained)]
        if self.options:
            command += ["--cfg-options", *self.options]
        return command

    def checkpoint(self) -> Path:
        """Its last checkpoint."""
        return Path((self.work_dir / "last_checkpoint").read_text().strip())


@dataclass(frozen=True)
class Result:
    """What a finished training gave.

    Attributes:
        metrics: name -> value in percent, of the last evaluation.
        losses: (step, loss) as logged.
        seconds: time in training steps, summed over interruptions.
        memory_mb: peak resident memory of the training process.
    """

    metrics: dict[str, float]
    losses: list[tuple[int, float]]
    seconds: float
    memory_mb: float
    command: list[str] = field(default_factory=list)


class TrainingFailed(RuntimeError):
    """A training ended with an error; its log says which."""


def run_all(trainings: list[Training], environment: dict[str, str]) -> list[Result]:
    """Run the trainings, one a core, with a progress bar each. Finished ones are not run again.

    Raises:
        TrainingFailed: one of them failed; the others are finished first.
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
        progress.update(task, completed=1, note="done before")
        return result
    training.work_dir.mkdir(parents=True, exist_ok=True)
    begun = training.work_dir / "command.json"  # what an interrupted training was
    if begun.is_file():
        _check_same(training.work_dir, json.loads(begun.read_text()), command[1:])
    write_whole(begun, json.dumps(command[1:]))
    if (training.work_dir / "last_checkpoint").is_file():
        command.insert(3, "--resume")  # before --work-dir: it takes the last checkpoint
        progress.update(task, note="continues")
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
    result = _summarise(training, usage.ru_maxrss / 1024)
    _save(result, result_file)
    progress.update(task, completed=1, note=_headline(result))
    return result


def _check_same(work_dir: Path, begun: list[str], wanted: list[str]) -> None:
    if begun != wanted:
        raise TrainingFailed(
            f"'{work_dir}' holds the result of another command:\n  {' '.join(begun)}\nwanted:\n"
            f"  {' '.join(wanted)}\nChoose another name or folder, or delete it"
        )


def _watch(training: Training, progress: Progress, task, finished: threading.Event) -> None:
    """Move the bar with the last logged step."""
    while not finished.wait(2):
        records = read_scalars(training.work_dir)
        steps = [r for r in records if "loss" in r]
        if steps:
            last = steps[-1]
            total = _total_steps(training.work_dir, last)
            progress.update(task, completed=last["step"] / total, note=f"loss {last['loss']:.3f}")


def _total_steps(work_dir: Path, record: dict) -> float:
    """Steps of the whole run, from the estimate that mmengine writes beside each loss."""
    eta = _last_eta(work_dir)
    return record["step"] + max(eta / max(record.get("time", 1.0), 1e-3), 1)


def _last_eta(work_dir: Path) -> float:
    """Seconds left, from the last line of the log that tells."""
    text = (work_dir / "log.txt").read_text(errors="replace")
    _, found, rest = text.rpartition("eta: ")
    if not found:
        return 0.0
    clock = rest.split("  ", 1)[0].split(", ")[-1]
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return hours * 3600 + minutes * 60 + seconds


def read_scalars(work_dir: Path) -> list[dict]:
    """All records that mmengine logged into `work_dir`, interrupted runs first."""
    records = []
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in file.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:  # the line that an interruption cut
                continue
    return records


def _summarise(training: Training, memory_mb: float) -> Result:
    steps: dict[int, dict] = {}
    metrics: dict[str, float] = {}
    for record in read_scalars(training.work_dir):
        if "loss" in record:
            steps[record["step"]] = record  # a step that was done again counts once
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
    if result.metrics:
        return ", ".join(f"{name} {value:.1f}" for name, value in result.metrics.items())
    return f"loss {result.losses[-1][1]:.3f}" if result.losses else ""


def _save(result: Result, path: Path) -> None:
    write_whole(path, json.dumps(asdict(result), indent=1))


def _load(path: Path) -> Result:
    content = json.loads(path.read_text())
    content["losses"] = [tuple(pair) for pair in content["losses"]]
    return Result(**content)
