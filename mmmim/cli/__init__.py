"""The command `mmmim`: one module per subcommand, all on argparse.

A module has a docstring (the description in `mmmim COMMAND --help`), `add_arguments(parser)` and
`run(args)`. argparse, because OpenMMLab's flags
(`--cfg-options A=1 B=2`, `--resume [PATH]`) take a variable number of values, which click and typer do
not support for options.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from mmmim.version import __version__

# Subcommand -> its module and its line in `mmmim --help`. Only the module of the command that is called
# is imported.
COMMANDS = {
    "train": ("train", "pretrain a method, or train a detector, segmenter or classifier"),
    "test": ("test", "evaluate a detector, segmenter or classifier"),
    "visualize": ("visualize", "draw what a pretrained method sees and predicts"),
    "convert": ("convert", "convert weights between mmmim's names and those of other projects"),
    "demo": ("demo", "pretrain, fine-tune and compare with scratch on synthetic scenes"),
    "compare": ("compare", "measure what pretraining gains over scratch, over several seeds"),
    "make-scenes": ("make_scenes", "draw the synthetic data set"),
    "print-param-groups": (
        "print_param_groups",
        "print depth, learning rate and weight decay of every parameter",
    ),
    "replay": ("replay", "run a step of a training again, to look at what went wrong"),
    "plan": ("plan", "estimate a pretraining on 1, 8 and 64 GPUs"),
    "benchmark": ("benchmark", "measure speed and memory against other code"),
}


def main(command: str | None = None, argv: Sequence[str] | None = None) -> None:
    """Run a subcommand.

    Args:
        command: its name, for the scripts in tools/; None reads it from the arguments.
        argv: arguments; default those of the process.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if command is None:
        parser = build_parser(next((word for word in argv if word in COMMANDS), None))
    else:
        parser = build_command_parser(command)
    args = parser.parse_args(argv)
    if names := getattr(args, "trust", None):
        from mmmim.checkpoints import trust

        trust(names)
    args.run(args)


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of `mmmim`, which knows the arguments of `command` alone."""
    parser = argparse.ArgumentParser(
        prog="mmmim",
        description="Masked image modeling for dense prediction: pretrain a backbone on unlabelled "
        "images, then train and evaluate detectors, segmenters and classifiers on it.",
        epilog="`mmmim COMMAND --help` explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"mmmim {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (_, summary) in COMMANDS.items():
        if name == command:
            _fill(subparsers.add_parser(name, help=summary, **_texts(name)), name)
        else:
            subparsers.add_parser(name, help=summary)
    return parser


def build_command_parser(command: str) -> argparse.ArgumentParser:
    """The parser of one subcommand, for a script of its own."""
    parser = argparse.ArgumentParser(**_texts(command))
    _fill(parser, command)
    return parser


def _load(command: str) -> ModuleType:
    return importlib.import_module(f"mmmim.cli.{COMMANDS[command][0]}")


def _fill(parser: argparse.ArgumentParser, command: str) -> None:
    module = _load(command)
    module.add_arguments(parser)
    parser.set_defaults(run=module.run)


def _texts(command: str) -> dict[str, Any]:
    raw = argparse.RawDescriptionHelpFormatter
    return dict(description=_load(command).__doc__, formatter_class=raw)
