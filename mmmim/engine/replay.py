"""A step of a training, run again."""

import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from mmengine import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor

from mmmim.checkpoints import read_file
from mmmim.data.unlabelled import item_seed
from mmmim.engine.hooks.bad_steps import LIST, draws_of_step, unlabelled_files
from mmmim.engine.resume import Found, checkpoint_folder, find_newest_whole
from mmmim.engine.runner import build_runner
from mmmim.engine.settings import apply_options
from mmmim.methods.base import unwrap_model


def replay(
    work_dir: Path, step: int, checkpoint: Path | None = None, options: dict[str, Any] | None = None
) -> dict[str, float]:
    """Print the images, the losses and the gradient norms of a step, and return the losses.

    Args:
        work_dir: of the training; nothing is written to it.
        step: number of the step, from 0.
        checkpoint: weights; default the newest whole checkpoint of the work dir before the step, and
            without one the initial weights.
        options: of --cfg-options.

    Raises:
        FileNotFoundError: the work dir holds no config.
        ValueError: nothing reads one of the options; no checkpoint is whole.
    """
    cfg = _config_of(work_dir)
    apply_options(cfg, options or {})
    cfg.launcher, cfg.resume, cfg.load_from = "none", False, None
    cfg.train_dataloader.num_workers = 0
    cfg.train_dataloader.persistent_workers = False
    cfg.train_dataloader.pop("prefetch_factor", None)
    if checkpoint is None:
        found = find_newest_whole(checkpoint_folder(cfg), step)
    else:
        found = Found(checkpoint, read_file(checkpoint))
    path, content = found.path, found.content
    meta = content.get("meta") or {}
    if "seed" in meta:
        cfg.randomness.seed = meta["seed"]
    with tempfile.TemporaryDirectory() as scratch:
        cfg.work_dir = scratch
        cfg.experiment_name = Path(scratch).name  # mmengine keeps loggers by this name
        runner = build_runner(cfg)
        # As Runner.train does.
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner._init_model_weights()
        if path is not None:
            unwrap_model(runner.model).load_state_dict(content["state_dict"])
        print(f"step {step}, weights: {path or 'as at the start'}")
        _be_rank(runner, _rank_of(work_dir, step), meta.get("world_size", 1))
        return _run(runner, step)


def _rank_of(work_dir: Path, step: int) -> int:
    """The first rank whose loss was not finite in a skipped step; 0 for other steps."""
    listed = work_dir / LIST
    lines = listed.read_text().splitlines() if listed.is_file() else []
    found = [record for record in map(json.loads, lines) if record["step"] == step]
    return found[-1]["rank"] if found else 0


def _be_rank(runner: Runner, rank: int, world_size: int) -> None:
    """Let the sampler deal out the images of one rank of several."""
    sampler: Any = runner.train_dataloader.sampler
    if world_size == 1 or not hasattr(sampler, "draws_of"):
        return
    sampler.rank, sampler.world_size = rank, world_size
    sampler.share = sampler.share // world_size
    print(f"images and crops of rank {rank} of {world_size}; its masks are drawn anew")


def _config_of(work_dir: Path) -> Config:
    """The config that a run wrote into its work dir."""
    found = sorted(work_dir.glob("*.py"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(f"no config (*.py) in '{work_dir}': give the work dir of a training")
    return Config.fromfile(found[-1])


def _run(runner: Runner, step: int) -> dict[str, float]:
    model = unwrap_model(runner.model).train()
    indices, files = _items(runner, step)
    print("images:", *(files or indices), sep="\n  ")
    loader = runner.train_dataloader
    collate = loader.collate_fn or pseudo_collate
    batch = collate([loader.dataset[index] for index in indices])
    torch.manual_seed(item_seed(runner.seed, step))
    data = model.data_preprocessor(batch, True)
    with runner.optim_wrapper.optim_context(model):
        total, logged = model.parse_losses(model._run_forward(data, mode="loss"))
    total.backward()
    found = {name: float(value) for name, value in logged.items()}
    print("losses:", ", ".join(f"{name} {value:.6g}" for name, value in found.items()))
    _print_gradients(model)
    return found


def _items(runner: Runner, step: int) -> tuple[list[int], list[str]]:
    """Indices into the data set, and image files, of a step."""
    loader = runner.train_dataloader
    dataset: Any = loader.dataset
    epoch, index = divmod(step, len(loader))
    sampler: Any = loader.sampler
    if hasattr(sampler, "draws_of"):
        sampler.seed = dataset.seed = runner.seed
        return draws_of_step(runner, step), unlabelled_files(runner, step)
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        sampler.set_epoch(epoch)
    else:
        index = step  # an infinite sampler
    batch = next(itertools.islice(loader.batch_sampler, index, None))
    return batch, [dataset.get_data_info(i).get("img_path", str(i)) for i in batch]


def _print_gradients(model: torch.nn.Module) -> None:
    norms: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            module = ".".join(name.split(".")[:3])
            square = parameter.grad.float().square().sum()
            norms[module] = norms.get(module, torch.zeros(())) + square
    print("gradient norm:")
    for module, square in norms.items():
        print(f"  {module:<40} {square.sqrt():.4g}")
