"""Rules of the layout: few files per loss, no type checks of methods, no edits of sys.path."""

import re
from pathlib import Path

import pytest

from tests.tools.count_crossings import LIMIT, LIMITS, configs, count

ROOT = Path(__file__).parents[1]
SOURCES = [p for folder in ("mmmim", "tools", "tests") for p in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize("pattern", [r"sys\.path\.(insert|append|extend|remove)", r"sys\.path *[+=]"])
def test_nothing_edits_the_import_path(pattern):
    this = Path(__file__)
    assert not [p for p in SOURCES if p != this and re.search(pattern, p.read_text())]


def test_no_code_outside_methods_asks_which_method_it_holds():
    methods = "MAE|LSMAE|PixMIM|ConvMAE|FastConvMAE|MixMIM|MaskAlign"
    ladder = re.compile(rf"isinstance\([^()]*\b(?:{methods})\b[^()]*\)")
    outside = [p for p in (ROOT / "mmmim").rglob("*.py") if "methods" not in p.parts]
    assert not [p for p in outside if ladder.search(p.read_text())]


def test_no_code_takes_the_scope_for_the_task():
    scope = re.compile(r"default_scope\b[^\n]*[!=]= *[\"']mmmim")
    assert not [p for p in (ROOT / "mmmim").rglob("*.py") if scope.search(p.read_text())]


@pytest.fixture(scope="module")
def every_method(tmp_path_factory):
    return configs(tmp_path_factory.mktemp("teacher"))


@pytest.mark.parametrize(
    "name", ["MAE", "LSMAE", "PixMIM", "ConvMAE", "FastConvMAE", "MixMIM", "MaskAlign"]
)
def test_one_loss_crosses_few_files_and_sorts_its_mask_once(every_method, name):
    _, files, sorts = count(every_method[name])
    assert len(files) <= LIMITS.get(name, LIMIT), sorted(files)
    # MixMIM's third stage is one window at the published size, so its finer mask is sorted too.
    assert sorts == (2 if name == "MixMIM" else 1)


def test_no_other_code_reads_what_files_hold():
    """Checkpoints are read by `mmmim.checkpoints` alone, which runs nothing in them."""
    readers = re.compile(
        r"(?<!`)torch\.(load|jit\.load|hub\.load)\(|\bpickle\.loads?\(|allow_pickle=True"
    )
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("mmmim", "tools")
        for path in (ROOT / folder).rglob("*.py")
        for line in path.read_text().splitlines()
        if readers.search(line)
    ]
    assert not found
