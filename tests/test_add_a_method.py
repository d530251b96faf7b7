"""docs/add_a_method.md: its diff applies to the project, passes its test, and trains."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmmim.data.synthetic import ScenesSpec, make_scenes

ROOT = Path(__file__).parents[1]
SMALL = (
    "model.backbone.arch=tiny",
    "model.backbone.img_size=32",
    "model.decoder.embed_dims=16",
    "model.decoder.depth=1",
    "train_dataloader.dataset.pipeline.0.size=32",
    "train_dataloader.num_workers=0",
    "train_dataloader.persistent_workers=False",
    "default_hooks.logger.interval=1",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with the page's diff applied."""
    copy = tmp_path_factory.mktemp("project")
    for name in ("mmmim", "configs", "tests", "docs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (diff,) = re.findall(r"```diff\n(.*?)```", (ROOT / "docs/add_a_method.md").read_text(), flags=re.S)
    subprocess.run(["git", "apply", "-"], input=diff, text=True, cwd=copy, check=True)
    return copy


def run(project: Path, *command: str, **variables: str) -> str:
    environment = dict(os.environ, PYTHONPATH=str(project), OMP_NUM_THREADS="1", **variables)
    done = subprocess.run(
        [sys.executable, *command], cwd=project, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_the_new_method_passes_its_parity_test(project):
    out = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/parity/test_edgemim.py")
    assert "2 passed" in out


def test_the_new_method_trains_by_its_config(project):
    scenes = make_scenes(project / "scenes", ScenesSpec(unlabelled=32, labelled=2, validation=2))
    options = (*SMALL, "train_dataloader.dataset.data_prefix=unlabelled/")
    out = run(
        project, "-m", "mmmim", "train", "edgemim/vit-b", "--epochs", "2", "--batch-size", "8",
        "--auto-scale-lr", "--cfg-options", *options, IMAGENET=str(scenes),
    )  # fmt: skip
    assert re.search(r"Epoch\(train\)\s+\[2\]\[4/4\]", out)
    assert (project / "work_dirs/edgemim/vit-b_2e/epoch_2.pth").is_file()
