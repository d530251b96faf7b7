"""The weights that a run starts from, continues or tests."""

from pathlib import Path

from mmengine import Config
from mmengine.runner import Runner

from mmmim.checkpoints import (
    convert,
    convert_file,
    find_format,
    position_grid,
    read_checkpoint,
    read_file,
)
from mmmim.engine.config import backbone_config
from mmmim.engine.resume import (
    Found,
    checkpoint_folder,
    completed_steps,
    find_newer,
    find_newest_whole,
    list_checkpoints,
)
from mmmim.methods import is_method
from mmmim.methods.base import Method, unwrap_model

# Backbones for which the image size of pretraining is no more than the size of the position table.
TAKES_IMAGE_SIZE = ("ViT", "ClassTokenViT")


def set_resume(cfg: Config, resume: str | None) -> Found:
    """`--resume` continues the newest whole checkpoint of the work dir, `--resume PATH` that one.

    Without it, a work dir that holds checkpoints is refused, not overwritten.

    Returns:
        What was found in the work dir.

    Raises:
        FileNotFoundError: PATH does not exist.
        FileExistsError: the work dir holds checkpoints, and `--resume` was not given.
        DamagedCheckpoint: PATH, or every checkpoint of the work dir, is damaged.
        UntrustedCheckpoint: it holds objects other than tensors, arrays and plain values.
        ValueError: PATH has no state of a run.
    """
    folder = checkpoint_folder(cfg)
    if resume is None and cfg.get("resume"):  # set in the config
        resume = cfg.get("load_from") or "auto"
    if resume is None:
        if list_checkpoints(folder):
            raise FileExistsError(
                f"'{folder}' already holds checkpoints: continue them with --resume, or choose "
                "another --work-dir"
            )
        return Found()
    if resume != "auto":
        path, steps = Path(resume), _resumable_steps(resume)
        cfg.resume, cfg.load_from = True, resume
        is_own = path.resolve().parent == folder.resolve()
        return Found(path, abandoned=find_newer(path, steps) if is_own else [])
    found = find_newest_whole(folder)
    # A job that always passes --resume starts without one, from load_from if set.
    cfg.resume = found.path is not None
    if found.path is not None:
        cfg.load_from = str(found.path)
    found.content = {}  # which the runner reads again; kept, it would take memory for the whole run
    return found


def _resumable_steps(path: str) -> int:
    """Steps of the checkpoint of a run."""
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"--resume: no file '{path}'; without a path, --resume continues the work dir"
        )
    steps = completed_steps(read_file(path))
    if steps is None:
        raise ValueError(
            f"--resume: '{path}' holds weights, but no state of a run: start a new run from it with "
            "--pretrained or --cfg-options load_from=PATH"
        )
    return steps


def set_pretrained(cfg: Config, checkpoint: str) -> None:
    """`--pretrained`: start the backbone from a checkpoint of any known format.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the config has no backbone.
    """
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"--pretrained: no file '{checkpoint}'")
    backbone = backbone_config(cfg.model)
    if not backbone:
        raise ValueError(
            f"--pretrained needs a model with a `backbone`, and that of '{cfg.filename}' has only "
            f"{list(cfg.model)}: set init_cfg=dict(type='mmmim.PretrainedBackbone', checkpoint=PATH) "
            "in the backbone within it"
        )
    backbone["init_cfg"] = dict(type="mmmim.PretrainedBackbone", checkpoint=checkpoint)


def load_method(runner: Runner) -> None:
    """`load_from` of a pretraining run: all weights of the method, decoder included, any known format.

    Transfer runs use mmengine's non-strict loading.

    Raises:
        ValueError: a weight of the method is missing or has another shape; in a transfer run, the file
            has no weight of the backbone under its name.
    """
    path = runner.cfg.get("load_from")
    if not path or runner.cfg.get("resume"):
        return
    model = unwrap_model(runner.model)
    if not isinstance(model, Method):
        _check_backbone_loads(runner, path)
        return
    state, _ = convert_file(path)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"load_from='{path}' lacks weights of {type(model).__name__}: {error}. If the file has "
            "an encoder alone, remove load_from and pass it as --pretrained"
        ) from error
    runner._has_loaded = True  # or mmengine would load it again, non-strictly
    runner.logger.info(f"load_from {path}: all {len(state)} weights loaded")


def _check_backbone_loads(runner: Runner, path: str) -> None:
    names = {n for n in unwrap_model(runner.model).state_dict() if n.startswith("backbone.")}
    if Path(path).is_file() and not names & read_checkpoint(path).keys():
        raise ValueError(
            f"load_from='{path}' has none of the keys 'backbone.*' of this model, so its backbone "
            "would train from scratch: remove load_from, and pass the file as --pretrained, which "
            "converts names"
        )


def prepare_test(cfg: Config, checkpoint: str) -> None:
    """Let the config of a test take its weights from `checkpoint` alone.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"no checkpoint file '{checkpoint}'")
    backbone_config(cfg.model).pop("init_cfg", None)  # the checkpoint holds the backbone
    cfg.load_from = None
    take_image_size(cfg, checkpoint)


def load_for_test(runner: Runner, checkpoint: str) -> None:
    """Load all weights of a model strictly, from a run of its config or an official file of it.

    mmengine alone would evaluate random weights for whatever the file lacks.

    Raises:
        ValueError: the checkpoint lacks a weight of the model, or has others.
    """
    state = read_checkpoint(checkpoint)
    if find_format(state):
        state, left_out = convert(state)
        if left_out:
            runner.logger.warning(f"{checkpoint}: unused: {', '.join(left_out)}")
    try:
        unwrap_model(runner.model).load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"'{checkpoint}' is not a checkpoint of this config: {error}. Test with the config "
            "that trained it, and the same --cfg-options"
        ) from error
    runner._has_loaded = True  # nothing else may be loaded before the test


def take_image_size(cfg: Config, checkpoint: str | None) -> None:
    """Set `img_size` of a transfer model's ViT, if it has none, to the checkpoint's.

    This keeps the position table of the checkpoint (ViTDet's `pretrain_img_size`), which each forward
    pass resizes to the image.
    """
    if not checkpoint or not Path(checkpoint).is_file() or is_method(cfg.model):
        return
    backbone = backbone_config(cfg.model)
    if "img_size" in backbone or str(backbone.get("type")).split(".")[-1] not in TAKES_IMAGE_SIZE:
        return
    if grid := position_grid(checkpoint):
        backbone["img_size"] = grid * backbone.get("patch_size", 16)


def resolve_checkpoint(cfg: Config) -> str | None:
    """The file that training will start from or continue."""
    start = backbone_config(cfg.model).get("init_cfg")
    return cfg.get("load_from") or (start.get("checkpoint") if isinstance(start, dict) else None)
