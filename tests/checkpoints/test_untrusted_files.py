"""Every file of the corpus against every function that reads one.

A child process, forked after the imports, reads a file by all of them. It must not run the file's
code, be killed, take long, or take more memory than twice the file's size and 1 GB. Its errors have one
line, which names the file.
"""

import gc
import json
import os
import re
import signal
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader

from mmmim.checkpoints import (
    DamagedCheckpoint,
    UntrustedCheckpoint,
    load_backbone,
    read_checkpoint,
    read_file,
)
from mmmim.cli import convert, visualize
from mmmim.engine import weights
from mmmim.methods.maskalign.teacher import Teacher
from mmmim.registry import MODELS
from tests.checkpoints.file_builder import STOP, call, name, text, write_zip
from tests.checkpoints.untrusted_files import KINDS, SENTINEL, UntrustedFile, list_files

SECONDS = 20
VERBOSE = bool(os.environ.get("VERBOSE"))  # print each file's outcome, with pytest -s
GIGABYTE = 1 << 30
ARCH = dict(embed_dims=64, depth=2, num_heads=1)
BACKBONE = dict(type="ViT", arch=ARCH, img_size=32, patch_size=8)
MAE = dict(type="MAE", backbone=BACKBONE, decoder=dict(embed_dims=16, depth=1, num_heads=2))
Entries = dict[str, Callable[[str], object]]


@pytest.fixture(scope="module")
def entries(tmp_path_factory) -> Entries:
    """Every function that reads a checkpoint file: name -> function of the path."""
    folder = tmp_path_factory.mktemp("entries")
    method, backbone = MODELS.build(MAE), MODELS.build(BACKBONE)
    transfer = torch.nn.Module()
    transfer.backbone = backbone
    config = folder / "mae.py"
    config.write_text(f"model = {MAE}\n")
    runner = Runner(
        model=torch.nn.Linear(1, 1),
        work_dir=str(folder),
        train_dataloader=dict(
            dataset=[torch.zeros(1)], sampler=dict(type="DefaultSampler", shuffle=True)
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        default_hooks=dict(logger=None),
        log_level="ERROR",
    )

    DefaultScope._instance_dict.clear()  # the runner set it

    def run(model: torch.nn.Module, path: str) -> Namespace:
        return Namespace(model=model, cfg=Config(dict(load_from=path)), logger=runner.logger)

    def convert_cli(path: str) -> None:
        convert.run(Namespace(src=Path(path), dst=folder / "converted.pth", to="mmmim"))

    tiny = Teacher("vit_tiny_patch16_224", model_args=dict(depth=1, embed_dim=64, num_heads=1))

    def teacher(path: str) -> None:
        tiny.checkpoint = path
        tiny.load()

    def test(path: str) -> None:
        cfg = Config(dict(model=dict(type="ViT")))
        weights.prepare_test(cfg, path)
        weights.load_for_test(run(method, path), path)

    return {
        "read_file": read_file,
        "read_checkpoint": read_checkpoint,
        "resume": runner.resume,
        "mmengine": CheckpointLoader.load_checkpoint,
        "convert": convert_cli,
        "pretrained": partial(load_backbone, backbone),
        "teacher": teacher,
        "load_from": lambda path: weights.load_method(run(method, path)),
        "load_from_transfer": lambda path: weights.load_method(run(transfer, path)),
        "test": test,
        "visualize": partial(visualize.build_method, str(config)),
    }


def outcome(error: BaseException | None) -> str:
    kinds = ((UntrustedCheckpoint, "refused"), (DamagedCheckpoint, "damaged"), (OSError, "missing"))
    return next((name for kind, name in kinds if isinstance(error, kind)), "loads")


def read_in_child(path: Path, entries: Entries) -> tuple[dict[str, str], int, int]:
    """Results by entry ("outcome: message"), the signal that ended the child, its peak in bytes."""
    report = path.parent / "report.json"
    report.unlink(missing_ok=True)
    sys.stdout.flush()
    gc.freeze()  # a collection in the child would copy all memory
    child = os.fork()
    if not child:
        signal.alarm(SECONDS)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        results, spent = {}, {}
        for title, entry in entries.items():
            error: BaseException | None = None
            began = time.monotonic()
            try:
                entry(str(path))
            except BaseException as raised:
                error = raised
            if title == "read_checkpoint" and results["read_file"] == "loads:" and error is not None:
                results["read_file"] = "empty:"
            results[title] = f"{outcome(error)}:{'' if error is None else error}"
            spent[title] = round(time.monotonic() - began, 2)
            report.write_text(json.dumps([results, spent]))
        os._exit(0)
    _, status, usage = os.wait4(child, 0)
    results, spent = json.loads(report.read_text()) if report.is_file() else ({}, {})
    if VERBOSE:
        print(spent)
    return results, status, usage.ru_maxrss * 1024


def find_problems(file: UntrustedFile, path: Path, entries: Entries, baseline: int) -> list[str]:
    size = path.stat().st_size if path.is_file() and not path.is_symlink() else 0
    began = time.monotonic()
    results, status, peak = read_in_child(path, entries)
    if VERBOSE:
        taken = f"{time.monotonic() - began:.1f} s, {(peak - baseline) >> 20} MB for {size >> 20} MB"
        print(file.name, taken, results.get("read_file", "")[:200], flush=True)
    found = []
    if (path.parent / SENTINEL).exists():
        (path.parent / SENTINEL).unlink()
        found.append("its code ran")
    if status:
        return [
            *found,
            f"the process ended by {signal.Signals(status & 0x7F).name} after {list(results)}",
        ]
    if peak - baseline > 2 * size + GIGABYTE:
        found.append(f"it took {(peak - baseline) >> 20} MB for {size >> 20} MB")
    read, _, _ = results["read_file"].partition(":")
    if read not in file.expected:
        found.append(f"read_file: {read}, expected {file.expected}: {results['read_file']}")
    for entry, result in results.items():
        kind, _, message = result.partition(":")
        # What is read may be of another model: such errors list weights, or are mmengine's.
        # A missing `load_from` of a transfer run is left to mmengine.
        left = read == "missing" and entry == "load_from_transfer"
        if read in ("refused", "damaged", "missing") and kind != read and not left:
            kind = f"{kind} instead of {read}"
        wrong = "instead" in kind or (message and file.name not in message)
        long = read != "loads" and ("\n" in message or len(message) > 1000)
        if (wrong or long) and not (entry in ("resume", "mmengine") and read in ("loads", "empty")):
            found.append(f"{entry}: {kind}: {message[:300]!r}")
    return found


def check(folder: Path, files: list[UntrustedFile], entries: Entries) -> None:
    problems = {}
    empty = folder / "nothing.pth"
    _, _, baseline = read_in_child(empty, {})
    for file in files:
        path = folder / file.name
        file.write(path)
        if found := find_problems(file, path, entries, baseline):
            problems[file.name] = found
        if path.is_file() and not path.is_symlink():
            path.unlink()
    print(f"{len(files)} files, {len(problems)} with problems")
    assert not problems, "\n".join(f"{name}: {found}" for name, found in problems.items())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
def test_no_file_harms_any_reader(tmp_path, entries, kind):
    check(tmp_path, list_files(tmp_path, [kind]), entries)


# Of each way to claim memory or time, the quick ones.
QUICK = (
    "of_a_|length|laughs|legacy|long|history|number|name|big|index|line.pth|copies_of_(text|scal|array)"
)


def test_no_file_claims_memory_or_time(tmp_path, entries):
    files = [file for file in list_files(tmp_path, ["memory"]) if re.search(QUICK, file.name)]
    check(tmp_path, files, {name: entries[name] for name in ("read_file", "read_checkpoint", "resume")})


@pytest.mark.slow
def test_no_slow_file_claims_memory_or_time(tmp_path, entries):
    files = [file for file in list_files(tmp_path, ["memory"]) if not re.search(QUICK, file.name)]
    check(tmp_path, files, {name: entries[name] for name in ("read_file", "read_checkpoint", "resume")})


@pytest.mark.slow
def test_the_corpus_bites(tmp_path):
    """A full unpickle runs the code of many files: the ways are real."""
    ran = []
    for file in list_files(tmp_path, ["code"]):
        path = tmp_path / file.name
        file.write(path)
        read_in_child(path, {"torch": partial(torch.load, weights_only=False)})
        if (tmp_path / SENTINEL).exists():
            (tmp_path / SENTINEL).unlink()
            ran.append(file.name)
    assert len(ran) >= 40, ran


def test_a_checkpoint_behind_a_url_is_read_by_the_same_reader(tmp_path, monkeypatch):
    """torch.hub unpickles what it downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    served = tmp_path / "served"
    served.mkdir()
    torch.save({"x": torch.ones(1)}, served / "fine.pth")
    write_zip(served / "bad.pth", call(name("os:system"), text(f"touch {tmp_path / SENTINEL}")) + STOP)
    handler = partial(SimpleHTTPRequestHandler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        for _ in ("downloads", "reads the cache"):
            assert CheckpointLoader.load_checkpoint(f"{url}/fine.pth")["x"] == 1
            with pytest.raises(UntrustedCheckpoint, match=r"bad\.pth"):
                CheckpointLoader.load_checkpoint(f"{url}/bad.pth")
        server.shutdown()
    assert not (tmp_path / SENTINEL).exists()
