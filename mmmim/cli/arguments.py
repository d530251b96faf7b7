"""Arguments that several subcommands share."""

import argparse
import os

from mmmim.engine.settings import OptionsAction

LAUNCHERS = ("none", "pytorch", "slurm", "mpi")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """OpenMMLab's arguments of training and testing, without the config."""
    parser.add_argument(
        "--work-dir",
        metavar="DIR",
        help="folder for logs and checkpoints (default: work_dirs/<folder>/<config>, with "
        "--teacher and --epochs appended)",
    )
    add_cfg_options(parser)
    add_trust(parser)
    parser.add_argument(
        "--launcher",
        choices=LAUNCHERS,
        default="none",
        help="what started the processes; tools/dist_*.sh and slurm_*.sh set it (default: none)",
    )
    # torch.distributed.launch passes it; torchrun sets the variable LOCAL_RANK instead.
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def add_config(parser: argparse.ArgumentParser, what: str = "config") -> None:
    """The positional argument for a config."""
    parser.add_argument("config", help=f"{what}: a file, or the name of a packaged one (mae/vit-b)")


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """`--cfg-options`."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=OptionsAction,
        default={},
        metavar="KEY=VALUE",
        help="override settings of the config, for example train_dataloader.num_workers=8",
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """`--trust`."""
    parser.add_argument(
        "--trust",
        nargs="+",
        default=[],
        metavar="MODULE.NAME",
        help="what checkpoint files may import and call, beside tensors, arrays and plain values. Only "
        "for files whose author you trust",
    )


def set_local_rank(args: argparse.Namespace) -> None:
    """Set LOCAL_RANK, which mmengine reads, as the launcher gives it."""
    local_rank = os.environ.get("OMPI_COMM_WORLD_LOCAL_RANK", str(args.local_rank))
    os.environ.setdefault("LOCAL_RANK", local_rank)
