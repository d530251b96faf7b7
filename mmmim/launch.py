"""From a config and a command line to a runner: shared by tools/train.py and tools/test.py."""

import argparse
import difflib
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from mmengine import Config, DictAction
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner, find_latest_checkpoint

from mmmim.checkpoints import find_format, position_grid, read_checkpoint, to_mmmim
from mmmim.data.labelled import check_classes
from mmmim.data.roots import check_data_roots
from mmmim.hooks.method import method_of
from mmmim.methods.base import Method
from mmmim.registry import DATASETS, HOOKS, MODELS, TRANSFORMS

# Backbones whose whole knowledge of the pretraining image size is the side of their position table.
TAKES_IMAGE_SIZE = ("ViT", "ClassTokenViT")
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
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return cfg


def default_work_dir(config: str) -> str:
    """work_dirs/<folder>/<config>: the same recipe name occurs for several methods."""
    path = Path(config)
    return f"work_dirs/{path.resolve().parent.name}/{path.stem}"


def build_runner(
    cfg: Config, loaders: Sequence[str] = ("train_dataloader", "val_dataloader")
) -> Runner:
    """Check what can be checked early, fit the config to this machine, build the runner.

    Args:
        cfg: of the run.
        loaders: the data loaders that it will read.
    """
    check_data_roots(cfg, loaders)
    check_classes(cfg, loaders)
    take_image_size(cfg, coming_checkpoint(cfg))
    set_whole_updates(cfg)
    set_ddp(cfg)
    if not torch.cuda.is_available():
        fit_to_cpu(cfg)
    try:
        return RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)
    except KeyError as error:
        raise KeyError(f"{error.args[0]} {_similar_types(str(error))}") from error


def _similar_types(message: str) -> str:
    """What an unknown type in a config may have meant."""
    unknown = re.search(r"(\w+) is not in the", message)
    ours = [name for kind in (MODELS, DATASETS, TRANSFORMS, HOOKS) for name in kind.module_dict]
    near = difflib.get_close_matches(unknown[1], ours, cutoff=0.5) if unknown else []
    return f"This project has {sorted(ours)}" + (f"; did you mean {near[0]}?" if near else "")


def set_ddp(cfg: Config) -> None:
    """DDP whose gradients live in its buckets: the memory of one copy of all weights less.

    No search for unused parameters unless the config asks: no method has any. A static graph would add
    nothing to that.
    """
    if cfg.launcher == "none" or "model_wrapper_cfg" in cfg or "runner_type" in cfg:
        return
    cfg.model_wrapper_cfg = dict(
        type="MMDistributedDataParallel",
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
        find_unused_parameters=cfg.get("find_unused_parameters", False),
    )


def set_whole_updates(cfg: Config) -> None:
    """Where gradients are accumulated, an epoch of pretraining ends with an update.

    A run that is resumed there has lost none, and what is left of the epoch is dropped, as the official
    code drops its gradients (facebookresearch/mae engine_pretrain.py:34).
    """
    loader, steps = (
        cfg.get("train_dataloader"),
        cfg.get("optim_wrapper", {}).get("accumulative_counts", 1),
    )
    if loader and steps > 1 and loader.get("sampler", {}).get("type") == "EpochSampler":
        loader.sampler.multiple = steps * loader.batch_size


# Hooks that call a method's parts, which FSDP gathers for the whole of it alone.
LOOKERS = ("PredictionHook", "AlignmentHook", "NearestNeighbourHook", "SegmentationProbeHook")


def set_fsdp(cfg: Config) -> None:
    """`--fsdp`: weights, gradients and moments are shared out over the processes, block by block.

    Raises:
        ValueError: one process; `load_from`, which is read before weights are shared out; clipping,
            of which each process would know its own share of the norm alone.
    """
    if cfg.launcher == "none":
        raise ValueError("--fsdp shares weights out over processes: start them by tools/dist_train.sh")
    if cfg.get("load_from") and not cfg.get("resume"):
        raise ValueError("--fsdp does not take load_from; start an encoder with --pretrained")
    if cfg.optim_wrapper.get("clip_grad"):
        raise ValueError(
            "--fsdp does not clip gradients, got optim_wrapper.clip_grad="
            f"{dict(cfg.optim_wrapper.clip_grad)}: leave one of them out"
        )
    cfg.runner_type, cfg.strategy = "FlexibleRunner", dict(type="BlockFSDPStrategy")
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if not _looks(hook)]
    cfg.default_hooks = {k: hook for k, hook in cfg.default_hooks.items() if not _looks(hook)}


def _looks(hook: dict | None) -> bool:
    return hook is not None and hook["type"].rpartition(".")[2] in LOOKERS


def fit_to_cpu(cfg: Config) -> None:
    """Make a config written for GPUs run without one, in one process or several."""
    if cfg.launcher == "none":
        return
    if not torch.distributed.is_initialized():
        # mmengine's own initialisation calls torch.cuda.set_device, also for gloo; it skips
        # itself where a process group exists.
        torch.distributed.init_process_group("gloo", **_rendezvous(cfg.launcher))
    if "model_wrapper_cfg" in cfg:
        cfg.model_wrapper_cfg.device_ids = None
    if replace_sync_bn(cfg.model):
        print_log("no GPU: SyncBN becomes BN, with statistics per process", logger="current")


def check_batch_norm(cfg: Config) -> None:
    """Refuse to train batch statistics on one image: UperNet pools to one pixel, and torch stops there.

    Raises:
        ValueError: one image a process, and BN, or SyncBN in a single process.
    """
    refused = {"BN", "SyncBN"} if cfg.launcher == "none" else {"BN"}
    norms = refused & {node.get("type") for node in _dicts(cfg.model)}
    if norms and (cfg.get("train_dataloader") or {}).get("batch_size") == 1:
        raise ValueError(
            f"{', '.join(sorted(norms))} needs more than one image to train on, got batch_size=1. Set "
            "train_dataloader.batch_size=2 or more, or train in several processes with SyncBN"
        )


def _dicts(node) -> Iterator[dict]:
    """Every dict at or below `node`."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    for child in node if isinstance(node, (list, tuple)) else ():
        yield from _dicts(child)


def _rendezvous(launcher: str) -> dict:
    """Who meets where, as `init_process_group` takes it.

    torchrun says it in the environment. Of SLURM it is read as mmengine reads it on GPUs
    (mmengine/dist/utils.py, _init_dist_slurm).
    """
    if launcher == "pytorch":
        return {}
    if launcher == "slurm":
        nodes = os.environ["SLURM_NODELIST"]
        first = f"scontrol show hostname {nodes} | head -n1"
        address = os.environ.get("MASTER_ADDR") or subprocess.getoutput(first)
        return dict(
            init_method=f"tcp://{address}:{os.environ.get('MASTER_PORT', 29500)}",
            rank=int(os.environ["SLURM_PROCID"]),
            world_size=int(os.environ["SLURM_NTASKS"]),
        )
    raise ValueError(
        "without a GPU only the launchers 'pytorch' (tools/dist_train.sh) and 'slurm' "
        f"(tools/slurm_train.sh) are supported, got '{launcher}'"
    )


def replace_sync_bn(model: dict) -> bool:
    """Turn every dict(type="SyncBN") of the model into BN; -> whether there was one."""
    found = [node for node in _dicts(model) if node.get("type") == "SyncBN"]
    for node in found:
        node["type"] = "BN"
    return bool(found)


def set_resume(cfg: Config, resume: str | None) -> None:
    """`--resume` alone continues the work dir's last checkpoint, `--resume PATH` that one.

    Without it, a work dir that holds checkpoints is refused rather than written over.

    Raises:
        FileNotFoundError: PATH does not exist.
        FileExistsError: the work dir holds checkpoints and `--resume` was not given.
    """
    if resume is None:
        if find_latest_checkpoint(cfg.work_dir):
            raise FileExistsError(
                f"'{cfg.work_dir}' already holds checkpoints. Continue them with --resume, or keep "
                "them and choose another --work-dir"
            )
        return
    if resume != "auto" and not Path(resume).is_file():
        raise FileNotFoundError(f"--resume: no checkpoint '{resume}'")
    cfg.resume = True
    cfg.load_from = None if resume == "auto" else resume


def start_method(runner: Runner) -> None:
    """`load_from` of a pretraining run: all of a method's weights, decoder included, any known format.

    Raises:
        ValueError: the checkpoint lacks something that the method has, or has another size.
    """
    path = runner.cfg.get("load_from")
    if not path or runner.cfg.get("resume") or runner.cfg.get("default_scope") != "mmmim":
        return
    state, _ = to_mmmim(read_checkpoint(path))
    try:
        method_of(runner).load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"load_from='{path}' does not hold all of this method: {error}. For an encoder alone "
            "use --pretrained"
        ) from error
    runner._has_loaded = True  # mmengine would load it again, and forgive what is missing
    runner.logger.info(f"load_from {path}: all {len(state)} weights loaded")


def set_pretrained(cfg: Config, checkpoint: str) -> None:
    """Start the backbone from a checkpoint of any format that `mmmim.checkpoints` reads.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the config has no backbone to start.
    """
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"--pretrained: no checkpoint '{checkpoint}'")
    model = cfg.model.get("host", cfg.model)  # PixMIM is its host with another target
    if "backbone" not in model:
        raise ValueError(f"--pretrained needs a model with a backbone, got {list(model)}")
    _backbone(model)["init_cfg"] = dict(type="mmmim.PretrainedBackbone", checkpoint=checkpoint)


def set_tested(cfg: Config, checkpoint: str) -> None:
    """Fit the config to the checkpoint of a whole model that is about to be loaded.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"no checkpoint '{checkpoint}'")
    _backbone(cfg.model).pop("init_cfg", None)  # the checkpoint holds the backbone
    take_image_size(cfg, checkpoint)


def load_tested(runner: Runner, checkpoint: str) -> None:
    """All of a model's weights, from a run of its config or from an official file of it.

    Strictly: mmengine alone would evaluate random weights for whatever the file lacks.

    Raises:
        ValueError: the checkpoint lacks something that the model has, or has something else.
    """
    state = read_checkpoint(checkpoint)
    if find_format(state):
        state, left_out = to_mmmim(state)
        if left_out:
            runner.logger.warning(f"{checkpoint}: not read: {', '.join(left_out)}")
    try:
        method_of(runner).load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"'{checkpoint}' is not a checkpoint of this config: {error}") from error
    runner._has_loaded = True  # nothing else is to be loaded before the test


def take_image_size(cfg: Config, checkpoint: str | None) -> None:
    """In transfer, a ViT without `img_size` keeps the checkpoint's position table as it is.

    ViTDet's `pretrain_img_size`: a table that every forward pass resizes to what comes.
    """
    if not checkpoint or not Path(checkpoint).is_file() or cfg.get("default_scope") == "mmmim":
        return
    backbone = _backbone(cfg.model)
    if "img_size" in backbone or str(backbone.get("type")).split(".")[-1] not in TAKES_IMAGE_SIZE:
        return
    if grid := position_grid(checkpoint):
        backbone["img_size"] = grid * backbone.get("patch_size", 16)


def coming_checkpoint(cfg: Config) -> str | None:
    """The file that training will start or go on from."""
    if cfg.get("resume"):
        return cfg.get("load_from") or find_latest_checkpoint(cfg.work_dir)
    start = _backbone(cfg.model).get("init_cfg")
    return cfg.get("load_from") or (start.get("checkpoint") if isinstance(start, dict) else None)


def _backbone(model: dict) -> dict:
    """FrozenBackbone is its backbone, frozen."""
    backbone = model.get("backbone", {})
    return backbone.get("backbone", backbone)


def set_amp(cfg: Config) -> None:
    """`--amp`: mixed precision on a GPU, full precision with a note on a CPU."""
    cfg.optim_wrapper.type = "mmmim.AmpOptimWrapper"


def compile_model(runner: Runner) -> None:
    """`--compile`: a method's whole forward pass, of a detector, segmenter or classifier its backbone.

    In place, so that checkpoints keep their names; random numbers are eager torch's own, so that masks
    stay what they were.
    """
    model = method_of(runner)
    module = model if isinstance(model, Method) else model.backbone
    module.compile(options=dict(fallback_random=True))


def set_auto_scale_lr(cfg: Config) -> None:
    """`--auto-scale-lr`: scale the learning rate to the batch that this run really has.

    Raises:
        ValueError: the config does not say what batch its learning rate is meant for.
    """
    if "base_batch_size" not in cfg.get("auto_scale_lr", {}):
        raise ValueError("--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in the config")
    cfg.auto_scale_lr.enable = True
    # mmengine compares with the images of one step; ours are those of one update.
    cfg.auto_scale_lr.base_batch_size /= cfg.optim_wrapper.get("accumulative_counts", 1)


def set_keep_batch(cfg: Config, world_size: int) -> None:
    """`--keep-batch`: accumulate so that an update sees the recipe's batch on any number of GPUs.

    Raises:
        ValueError: the recipe counts iterations, or does not name its batch, or the images of one step
            do not divide it.
    """
    meant = (cfg.get("auto_scale_lr") or {}).get("base_batch_size")
    if meant is None:
        raise ValueError("--keep-batch needs auto_scale_lr=dict(base_batch_size=...) in the config")
    if "max_iters" in cfg.train_cfg:
        raise ValueError(
            "--keep-batch is for recipes that count epochs; this one counts iterations, before "
            "accumulation: set its `accumulate`, by which it multiplies them"
        )
    batch = cfg.train_dataloader.batch_size
    images = batch * world_size
    if meant % images:
        cure = (
            f"{world_size} processes cannot share it equally; take a number of them that divides it"
            if meant % world_size
            else f"set train_dataloader.batch_size to a divisor of {meant // world_size}"
        )
        raise ValueError(
            f"--keep-batch: steps of {batch} images x {world_size} processes do not divide the "
            f"recipe's batch of {meant}: {cure}"
        )
    cfg.optim_wrapper.accumulative_counts = meant // images


def launched_processes() -> int:
    """Number of processes that torchrun, SLURM or MPI has started."""
    names = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
    return int(next((os.environ[name] for name in names if os.environ.get(name)), 1))


def describe_batch(cfg: Config, world_size: int) -> str:
    """The arithmetic of the global batch and the learning rate, in one line."""
    images = cfg.train_dataloader.batch_size
    steps = cfg.optim_wrapper.get("accumulative_counts", 1)
    total = images * world_size * steps
    line = (
        f"batch: {images} images x {world_size} processes x {steps} accumulated = {total}; "
        f"learning rate {cfg.optim_wrapper.optimizer.lr:g}"
    )
    scaling = cfg.get("auto_scale_lr") or {}
    meant = scaling.get("base_batch_size", total)
    if scaling.get("enable"):
        return f"{line}, scaled by {images * world_size / meant:g}"
    if meant == total:
        return line
    return (
        f"{line}, meant for a batch of {meant}. Accumulate (--keep-batch, or --cfg-options "
        f"optim_wrapper.accumulative_counts={max(round(meant / (images * world_size)), 1)}) or "
        "scale the rate (--auto-scale-lr)" + _note_on_iterations(cfg, meant / total)
    )


def _note_on_iterations(cfg: Config, factor: float) -> str:
    """Iterations are counted in steps, not in images."""
    if "max_iters" not in cfg.train_cfg:
        return ""
    return (
        f". Either way train_cfg.max_iters={cfg.train_cfg.max_iters} steps see {1 / factor:g} of the "
        f"recipe's images: multiply max_iters and the iterations of param_scheduler by {factor:g}"
    )
