"""The steps from a recipe to the config that runs, in the order in which they are applied.

A step changes the config in place, or refuses it with an error that names the cure. `TRAIN_STEPS` and
`TEST_STEPS` are the order; the comment of a step says what it needs from the steps before it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from mmengine import Config

from mmmim.data.check_coco import check_annotations
from mmmim.data.check_label_maps import check_label_maps, set_label_range
from mmmim.data.checks import check_classes, check_data_roots
from mmmim.engine import batch, distribution, reliability, schedule, settings, weights
from mmmim.engine.resume import Found
from mmmim.methods.maskalign import set_teacher


@dataclass(frozen=True)
class RunOptions:
    """What the flags of `train` and `test` ask for.

    Attributes:
        teacher: name of a published teacher of MaskAlign.
        epochs: length of the run, instead of the recipe's.
        batch_size: images per process and step, instead of the recipe's.
        resume: None starts a new run; "auto" continues the last checkpoint of the work dir; a path
            continues that checkpoint.
        pretrained: checkpoint that the backbone starts from.
        amp: mixed precision on GPUs.
        fsdp: shard weights, gradients and moments over the processes.
        compile: compile the method, or the backbone of a transfer model.
        validate: whether to evaluate during training.
        auto_scale_lr: scale the learning rate to the real batch.
        keep_batch: accumulate gradients up to the recipe's batch.
        checkpoint: file to test.
        out: file for all predictions of a test.
        found: what `choose_start` found in the work dir.
    """

    teacher: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    resume: str | None = None
    pretrained: str | None = None
    amp: bool = False
    fsdp: bool = False
    compile: bool = False
    validate: bool = True
    auto_scale_lr: bool = False
    keep_batch: bool = False
    checkpoint: str | None = None
    out: str | None = None
    found: list[Found] = field(default_factory=list)


Step = Callable[[Config, RunOptions], None]


def check_settings(cfg: Config, options: RunOptions) -> None:
    """Refuse settings that do nothing or that no training can have; `num_workers=0` needs no more."""
    settings.check_settings(cfg)
    settings.fit_workers(cfg)


def check_test_settings(cfg: Config, options: RunOptions) -> None:
    """The part of `check_settings` that a test needs."""
    settings.check_written(cfg)
    settings.fit_workers(cfg)


def choose_teacher(cfg: Config, options: RunOptions) -> None:
    """`--teacher`."""
    if options.teacher:
        set_teacher(cfg.model, options.teacher)


def choose_epochs(cfg: Config, options: RunOptions) -> None:
    """`--epochs`."""
    if options.epochs is not None:
        schedule.set_epochs(cfg, options.epochs)


def choose_start(cfg: Config, options: RunOptions) -> None:
    """`--resume` and `--pretrained`; a work dir with checkpoints is refused without `--resume`."""
    options.found.append(weights.set_resume(cfg, options.resume))
    if options.pretrained:
        weights.set_pretrained(cfg, options.pretrained)


def choose_precision(cfg: Config, options: RunOptions) -> None:
    """`--amp`."""
    if options.amp:
        cfg.optim_wrapper.type = "mmmim.AmpOptimWrapper"


def make_reliable(cfg: Config, options: RunOptions) -> None:
    """Safe checkpoints, and the hooks of every run."""
    reliability.set_reliability(cfg)


def shard_weights(cfg: Config, options: RunOptions) -> None:
    """`--fsdp`."""
    if options.fsdp:
        distribution.set_fsdp(cfg)


def drop_validation(cfg: Config, options: RunOptions) -> None:
    """`--no-validate`."""
    if not options.validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None


def choose_batch(cfg: Config, options: RunOptions) -> None:
    """`--batch-size`, `--auto-scale-lr` and `--keep-batch`."""
    if options.batch_size is not None:
        if options.batch_size < 1:
            raise ValueError(f"--batch-size must be 1 or more, got {options.batch_size}")
        cfg.train_dataloader.batch_size = options.batch_size
    if options.auto_scale_lr:
        batch.set_auto_scale_lr(cfg)
    elif options.keep_batch or options.batch_size is not None:
        batch.set_keep_batch(cfg, distribution.launched_processes(cfg.launcher))


def check_batch(cfg: Config, options: RunOptions) -> None:
    """Refuse batch statistics over a single image."""
    batch.check_batch_norm(cfg)


def check_train_data(cfg: Config, options: RunOptions) -> None:
    """Refuse missing data, classes that do not fit the head, and annotations that train wrongly."""
    _check_data(cfg, ("train_dataloader", "val_dataloader"))


def check_test_data(cfg: Config, options: RunOptions) -> None:
    """Refuse missing data, classes that do not fit the head, and annotations that train wrongly."""
    _check_data(cfg, ("test_dataloader",))


def _check_data(cfg: Config, loaders: tuple[str, ...]) -> None:
    check_data_roots(cfg, loaders)
    check_classes(cfg, loaders)
    check_annotations(cfg, loaders)
    check_label_maps(cfg, loaders)
    set_label_range(cfg, loaders)


def take_image_size(cfg: Config, options: RunOptions) -> None:
    """A ViT of a transfer model without `img_size` takes the checkpoint's."""
    weights.take_image_size(cfg, weights.resolve_checkpoint(cfg))


def complete_updates(cfg: Config, options: RunOptions) -> None:
    """Epochs of pretraining consist of whole accumulated updates."""
    batch.set_whole_updates(cfg)


def wrap_for_processes(cfg: Config, options: RunOptions) -> None:
    """DDP's settings, and a process group where there is no GPU."""
    distribution.set_ddp(cfg)
    if not torch.cuda.is_available():
        distribution.fit_to_cpu(cfg)


def choose_checkpoint(cfg: Config, options: RunOptions) -> None:
    """The tested checkpoint replaces the weights that training would start from.

    Raises:
        ValueError: a pretraining config, which has nothing to evaluate.
    """
    if "test_dataloader" not in cfg:
        raise ValueError(
            f"'{cfg.filename}' has nothing to evaluate: evaluate a pretraining method by transfer "
            "(configs/detection, segmentation, classification), and look at it with mmmim visualize"
        )
    weights.prepare_test(cfg, options.checkpoint or "")


def keep_predictions(cfg: Config, options: RunOptions) -> None:
    """`--out` of test."""
    if options.out:
        own = cfg.test_evaluator
        dump = dict(type="DumpResults", out_file_path=options.out)
        cfg.test_evaluator = [*(own if isinstance(own, (list, tuple)) else [own]), dump]


TRAIN_STEPS: tuple[Step, ...] = (
    check_settings,  # first: the steps below divide by and multiply what it checks
    choose_teacher,
    choose_epochs,  # before steps are multiplied by accumulation
    choose_start,  # before anything that takes long: it refuses early
    choose_precision,
    make_reliable,
    shard_weights,  # after choose_start: it refuses load_from without resume
    drop_validation,  # before check_train_data: data that is not read need not exist
    choose_batch,
    check_batch,  # after choose_batch
    check_train_data,
    take_image_size,  # after choose_start, which sets the checkpoint
    complete_updates,  # after choose_batch, which sets the accumulation
    wrap_for_processes,  # last: it may start the process group
)
TEST_STEPS: tuple[Step, ...] = (
    check_test_settings,
    choose_checkpoint,
    keep_predictions,
    check_test_data,
    wrap_for_processes,  # last: it may start the process group
)


def prepare(cfg: Config, options: RunOptions, steps: tuple[Step, ...]) -> None:
    """Apply the steps in order."""
    for step in steps:
        step(cfg, options)
