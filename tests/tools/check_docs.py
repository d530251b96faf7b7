"""Check that the docs name files, links, options, configs and modules that exist.

python tests/tools/check_docs.py

Reads README.md, CONTRIBUTING.md, docs/, and the commands in the docstrings of configs. CHANGELOG.md is
history and may use old names. Names that the reader chooses are skipped. Part of `make check`.
"""

import argparse
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from mmmim.cli import COMMANDS, build_command_parser
from mmmim.engine.config import find_config

ROOT = Path(__file__).parents[2]
FOLDERS = "configs|tools|mmmim|tests|docs|requirements"
PATH = re.compile(rf"(?<![\w/.-])(?:{FOLDERS})/[\w./*{{}},-]*[\w*}}]")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]+")
MODULE = re.compile(r"\bmmmim(?:\.[A-Za-z_]\w*)+")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# Files that the reader makes, or that a run writes.
NAMES_OF_READERS = re.compile(r"yours|my_|my-|\b[A-Z]{3,}\b|\.\.\.")
# Script in tools/ -> subcommand.
SCRIPTS = {
    "train": "train",
    "dist_train": "train",
    "slurm_train": "train",
    "test": "test",
    "dist_test": "test",
    "slurm_test": "test",
    "convert_checkpoint": "convert",
    "print_layers": "print-param-groups",
    **{name.replace("-", "_"): name for name in COMMANDS},
}
# Options of other programs in the docs, and of scripts in tests/.
FOREIGN = {
    *("--no-deps", "--override", "--constraint", "--extra", "--editable", "--quiet", "--python"),
    *("--universal", "--python-version", "--no-header", "--no-annotate", "--resolution", "--fsdp"),
    *("--nproc_per_node", "--gres", "--global_pool", "--gpus", "--shm-size", "--version", "--help"),
    *("--list", "--against", "--checkout", "--depth", "--branch", "--exclusive"),
}


def documents() -> Iterator[tuple[Path, str]]:
    """(file, text) of every page, and of the commands in the docstring of every config."""
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]:
        yield page, page.read_text()
    for config in sorted(ROOT.glob("configs/**/*.py")):
        lines = config.read_text().split('"""')[1].replace("\\\n", " ").splitlines()
        yield config, "\n".join(line for line in lines if re.search(r"tools/|mmmim ", line))


def find_problems() -> list[str]:
    """One line per name that does not exist."""
    options = {name: set(_options(build_command_parser(name))) for name in COMMANDS}
    every_option = set().union(*options.values(), FOREIGN)
    problems = []
    for file, text in documents():
        text = re.sub(r"```diff.*?```", "", text, flags=re.S)  # tests/test_add_a_method.py checks diffs
        text = text.replace("\\\n", " ")
        found = itertools.chain(
            (f"no file {path}" for path in PATH.findall(text) if not _exists(path)),
            (f"no link {link}" for link in LINK.findall(text) if not _link_exists(file, link)),
            (f"no module {name}" for name in MODULE.findall(text) if not _module_exists(name)),
            (f"no option {name}" for name in OPTION.findall(text) if name not in every_option),
            *(_problems_of_command(line, options) for line in text.splitlines()),
        )
        problems += [f"{file.relative_to(ROOT)}: {problem}" for problem in found]
    return problems


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from _options(sub)


def _exists(path: str) -> bool:
    if NAMES_OF_READERS.search(path):
        return True
    names = [name.rstrip("/.") for name in _expand_braces(path)]
    # `--out docs/images/curves` is a prefix of file names.
    return all(any(ROOT.glob(name)) or any(ROOT.glob(f"{name}.*")) for name in names)


def _expand_braces(path: str) -> list[str]:
    match = re.search(r"\{([^{}]*)\}", path)
    if not match:
        return [path]
    return [
        name
        for part in match[1].split(",")
        for name in _expand_braces(path[: match.start()] + part + path[match.end() :])
    ]


def _link_exists(file: Path, link: str) -> bool:
    if link.startswith(("http://", "https://", "mailto:")):
        return True
    name, _, anchor = link.partition("#")
    target = file.parent / name if name else file
    if not target.exists():
        return False
    return not anchor or anchor in _anchors(target.read_text())


def _anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.M)
    plain = (re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def _module_exists(name: str) -> bool:
    """Whether `mmmim.a.b.Name` is a module, or a name in the source of one, or a registered type."""
    if NAMES_OF_READERS.search(name):
        return True
    *parts, last = name.split(".")
    for depth in range(len(parts), 0, -1):
        base = ROOT.joinpath(*parts[:depth])
        sources = [base.with_suffix(".py"), *base.glob("*.py")] if depth > 1 else _all_sources()
        text = "\n".join(source.read_text() for source in sources if source.is_file())
        if (base / last).is_dir() or (base / f"{last}.py").is_file():
            return True
        if text:
            return re.search(rf"\b{last}\b", text) is not None
    return False


def _all_sources() -> list[Path]:
    return sorted((ROOT / "mmmim").rglob("*.py"))


def _problems_of_command(line: str, options: dict[str, set[str]]) -> Iterator[str]:
    """Options and configs of a command line of ours."""
    match = re.search(r"(?:\bmmmim ([a-z][a-z-]+)|tools/(\w+)\.(?:py|sh))((?: +[^`|]*)?)", line)
    if not match:
        return
    name = match[1] or SCRIPTS.get(match[2], "")
    if name not in options:
        return
    words = match[3].split()
    for word in words:
        option = word.split("=")[0].strip("[]`,.;:()")
        if option.startswith("--") and option not in options[name] | {"--help", "--version"}:
            yield f"no option {option} of {name}"
    if match[1] in ("train", "test") and words and re.fullmatch(r"[a-z]+/[\w.-]+", words[0]):
        try:
            find_config(words[0])
        except FileNotFoundError:
            if not NAMES_OF_READERS.search(words[0]):
                yield f"no packaged config {words[0]}"


def main() -> None:
    problems = find_problems()
    if problems:
        sys.exit("\n".join(problems))
    print("docs: every file, link, option, config and module that they name exists")


if __name__ == "__main__":
    main()
