"""From the command line to a config: the flags that training and testing share."""

import argparse
import os
from pathlib import Path

from mmengine import Config, DictAction

LAUNCHERS = ("none", "pytorch", "slurm", "mpi")


def common_arguments(description: str) -> argparse.ArgumentParser:
    """OpenMMLab's flags that training and testing share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("config", help="config file")
    parser.add_argument("--work-dir", help="where logs and checkpoints go (work_dirs/<config>)")
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, help="override settings: key=value ..."
    )
    parser.add_argument("--launcher", choices=LAUNCHERS, default="none", help="job launcher")
    # torch.distributed.launch passes it; torchrun sets LOCAL_RANK instead.
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)
    return parser


def load_config(args: argparse.Namespace) -> Config:
    """Read the config and apply the shared flags.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not Path(args.config).is_file():
        raise FileNotFoundError(
            f"no config '{args.config}'; the configs of this project lie below configs/"
        )
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get("work_dir") or default_work_dir(args.config)
    local_rank = os.environ.get("OMPI_COMM_WORLD_LOCAL_RANK", str(args.local_rank))
    os.environ.setdefault("LOCAL_RANK", local_rank)
    return cfg


def default_work_dir(config: str) -> str:
    """work_dirs/<folder>/<config>: the same recipe name occurs for several methods."""
    path = Path(config)
    return f"work_dirs/{path.resolve().parent.name}/{path.stem}"
