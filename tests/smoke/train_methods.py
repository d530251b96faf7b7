"""Train every method for two epochs of six steps, in one process or in several.

python tests/smoke/train_methods.py OUT [--launcher pytorch [--fsdp | --compile]]

One process takes batches of 8. Two take batches of 4, and stop and resume between the epochs. The
optimizer is SGD, since AdamW would not show gradients that are wrong by a constant factor.
"""

import argparse
from pathlib import Path

import torch
from mmengine import Config
from mmengine.hooks import Hook

import mmmim  # noqa: F401  registers the methods
from mmmim.data import EpochSampler
from mmmim.data.unlabelled import item_seed
from mmmim.engine import RunOptions, run_train
from mmmim.registry import DATA_SAMPLERS, HOOKS

TINY = Path(__file__).parents[2] / "configs/tiny"
PROCESSES = 2
BATCH = 8
VIT = {"arch.embed_dims": 16}
CONV_VIT = {"arch.embed_dims": (8, 16, 16), "arch.depths": (1, 1, 1)}
MIXMIM = {"arch.embed_dims": 8, "arch.depths": (1, 1, 2, 1), "arch.num_heads": (1, 2, 4, 4)}
# Method -> (tiny config, changes that make its backbone smaller still).
METHODS = {
    "MAE": ("mae_vit_scenes", VIT),
    "LSMAE": ("lsmae_vit_scenes", VIT),
    "PixMIM": ("pixmim_vit_scenes", VIT),
    "ConvMAE": ("convmae_convvit_scenes", CONV_VIT),
    "FastConvMAE": ("fastconvmae_convvit_scenes", CONV_VIT),
    "MixMIM": ("mixmim_scenes", MIXMIM),
    "MaskAlign": ("maskalign_vit_scenes", VIT),
}


@DATA_SAMPLERS.register_module(force=True)  # a test has imported this file, and runs it again
class DealtSampler(EpochSampler):
    """Gives one process, one after another, the batches that two processes would get at once.

    MixMIM draws a mask per process and mixes images within its batch, so one process equals two if it
    accumulates over these batches.
    """

    def __iter__(self):
        order = torch.tensor(list(super().__iter__()))
        share = BATCH // PROCESSES
        yield from order.view(-1, share, PROCESSES).transpose(1, 2).flatten().tolist()


@HOOKS.register_module(force=True)
class DealtMasks(Hook):
    """Draws the masks of these batches: seeds a step as two processes do, and skips others' noise."""

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        step, process = divmod(runner.iter, PROCESSES)
        torch.manual_seed(item_seed(runner.seed, step))
        rows, columns = runner.model.backbone.grid_size
        torch.rand(process, rows * columns)


def config(name: str, launcher: str, out: Path) -> Config:
    file, backbone = METHODS[name]
    cfg = Config.fromfile(TINY / f"{file}.py")
    model = "model.method" if name == "PixMIM" else "model"
    changes = {f"{model}.backbone.{key}": value for key, value in backbone.items()}
    if name == "MaskAlign":
        changes["model.teacher.model_args.embed_dim"] = 16
        changes["model.backbone.drop_path_rate"] = 0.5  # the last block's rate
    else:
        changes |= {f"{model}.decoder.embed_dims": 16, f"{model}.decoder.depth": 1}
    cfg.merge_from_dict(changes)
    cfg.optim_wrapper.optimizer = dict(type="SGD", lr=0.05, momentum=0.9)
    cfg.param_scheduler = []
    cfg.train_dataloader.update(
        batch_size=BATCH if launcher == "none" else BATCH // PROCESSES,
        num_workers=0,
        persistent_workers=False,
    )
    if name == "MixMIM" and launcher == "none":
        cfg.train_dataloader.update(batch_size=BATCH // PROCESSES, sampler=dict(type="DealtSampler"))
        cfg.optim_wrapper.accumulative_counts = PROCESSES
        cfg.custom_hooks.append(dict(type="DealtMasks"))
    cfg.randomness = dict(seed=0)
    cfg.launcher, cfg.work_dir = launcher, str(out / name)
    return cfg


def train(name: str, args: argparse.Namespace) -> None:
    for epochs in (2,) if args.launcher == "none" else (1, 2):
        cfg = config(name, args.launcher, args.out)
        cfg.train_cfg.max_epochs = epochs
        cfg.experiment_name = f"{name}_{epochs}"  # mmengine keeps one logger per name and process
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # rank 0 must have written its checkpoint
        resume = "auto" if epochs == 2 and args.launcher != "none" else None
        run_train(cfg, RunOptions(resume=resume, fsdp=args.fsdp, compile=args.compile))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--launcher", choices=["none", "pytorch"], default="none")
    parser.add_argument("--fsdp", action="store_true")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    for name in METHODS:
        train(name, args)


if __name__ == "__main__":
    main()
