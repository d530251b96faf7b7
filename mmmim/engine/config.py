"""Config files: found by path or by name, read, and searched."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine import Config

from mmmim.engine.settings import apply_options

PACKAGE = Path(__file__).parent.parent


def config_folder() -> Path:
    """The folder of the packaged configs: in a checkout `configs/`, in a wheel `mmmim/.mim/configs`."""
    packaged = PACKAGE / ".mim/configs"
    return packaged if packaged.is_dir() else PACKAGE.parent / "configs"


def find_config(name: str) -> Path:
    """A config file by its path, or a packaged config by its name.

    "configs/mae/vit-b.py", "mae/vit-b.py" and "mae/vit-b" name the same packaged config. A file of
    that path goes first.

    Raises:
        FileNotFoundError: no such file and no such packaged config; the message lists similar ones.
    """
    if Path(name).is_file():
        return Path(name)
    folder = config_folder()
    inner = name.removeprefix("configs/").removesuffix(".py")
    if (packaged := folder / f"{inner}.py").is_file():
        return packaged
    family = inner.partition("/")[0]
    names = sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.glob("*/*.py"))
    names = [n for n in names if not n.startswith("_base_")]
    similar = [n for n in names if n.startswith(f"{family}/")] or sorted(
        {n.partition("/")[0] + "/..." for n in names}
    )
    raise FileNotFoundError(
        f"no config file '{name}', and no packaged config of that name. Packaged are "
        f"{', '.join(similar)}"
    )


def load_config(
    name: str,
    cfg_options: dict[str, Any] | None = None,
    launcher: str = "none",
    work_dir: str | None = None,
    suffix: str = "",
) -> Config:
    """Read a config and apply the flags that training and testing share.

    Args:
        name: see `find_config`.
        cfg_options: dotted key -> value, of `--cfg-options`.
        launcher: "none", "pytorch", "slurm" or "mpi".
        work_dir: for logs and checkpoints; default `work_dirs/<folder>/<config><suffix>`.
        suffix: of the default work dir, for what the flags change in the recipe.

    Raises:
        FileNotFoundError: see `find_config`.
        ValueError: see `apply_options`.
    """
    path = find_config(name)
    cfg = Config.fromfile(path)
    apply_options(cfg, cfg_options or {})
    cfg.launcher = launcher
    # The folder is part of it: several methods have a recipe of the same name.
    default = f"work_dirs/{path.resolve().parent.name}/{path.stem}{suffix}"
    cfg.work_dir = work_dir or cfg.get("work_dir") or default
    return cfg


def backbone_config(model: dict[str, Any]) -> dict[str, Any]:
    """The config of a model's backbone, without wrappers: PixMIM's method, FrozenBackbone.

    Empty if the model has none of its own, as a detector within another has.
    """
    inner = model.get("method", model.get("host", model))
    backbone = inner.get("backbone", {})
    return backbone.get("backbone", backbone)


def all_dicts(node: Any) -> Iterator[dict[str, Any]]:
    """Every dict at or below `node`."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    for child in node if isinstance(node, (list, tuple)) else ():
        yield from all_dicts(child)
