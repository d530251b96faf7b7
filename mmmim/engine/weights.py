"""What a run starts or goes on from."""

from pathlib import Path

from mmengine import Config
from mmengine.runner import Runner, find_latest_checkpoint

from mmmim.checkpoints import find_format, position_grid, read_checkpoint, to_mmmim
from mmmim.hooks.method import method_of

# Backbones whose whole knowledge of the pretraining image size is the side of their position table.
TAKES_IMAGE_SIZE = ("ViT", "ClassTokenViT")


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
    if resume == "auto" and not find_latest_checkpoint(cfg.work_dir):
        return  # a job that always says --resume starts here, from load_from if it has one
    cfg.resume = True
    cfg.load_from = None if resume == "auto" else resume


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


def start_method(runner: Runner) -> None:
    """`load_from` of a pretraining run: all of a method's weights, decoder included, any known format.

    That of a transfer run is mmengine's, which forgives what is missing.

    Raises:
        ValueError: the checkpoint lacks something that the method has, or has another size; of a
            transfer run, it has no weight of the backbone by its name.
    """
    path = runner.cfg.get("load_from")
    if not path or runner.cfg.get("resume"):
        return
    if runner.cfg.get("default_scope") != "mmmim":
        _check_backbone_loads(runner, path)
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


def _check_backbone_loads(runner: Runner, path: str) -> None:
    names = {name for name in method_of(runner).state_dict() if name.startswith("backbone.")}
    if Path(path).is_file() and not names & read_checkpoint(path).keys():
        raise ValueError(
            f"load_from='{path}' has no weight of this model's backbone by its name, so training would "
            "start from scratch: start the backbone from it by --pretrained"
        )


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
