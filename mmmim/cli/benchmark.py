"""Measure speed and memory against the official code and OpenMMLab.

Candidates are interleaved in one process, so background load affects all equally. Each part prints a
Markdown table, and most write it to PREFIX.md and PREFIX.json with --out PREFIX.
"""

import argparse
from pathlib import Path

import torch

from mmmim.benchmark import curves, guard, loader, low_pass, precision, step, transfer

PARTS = dict(
    step=step,
    loader=loader,
    curves=curves,
    transfer=transfer,
    precision=precision,
    filter=low_pass,
    guard=guard,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parts = parser.add_subparsers(title="parts", metavar="PART", required=True)
    for name, part in PARTS.items():
        sub = parts.add_parser(
            name,
            help=str(part.__doc__).splitlines()[0],
            description=part.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        part.add_arguments(sub)
        sub.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
        if part is not precision:  # which trains instead of timing rounds
            sub.add_argument("--repeats", type=int, default=7, help="rounds to measure (default: 7)")
            sub.add_argument(
                "--out",
                type=Path,
                metavar="PREFIX",
                help="write the result to PREFIX.md and PREFIX.json",
            )
        sub.set_defaults(run_part=part.run, check=getattr(part, "check", None), parser=sub)


def run(args: argparse.Namespace) -> None:
    if args.check:
        args.check(args.parser, args)
    if args.threads:
        torch.set_num_threads(args.threads)
    args.run_part(args)
