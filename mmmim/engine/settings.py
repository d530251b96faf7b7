"""Settings that would do nothing, or that no run can have, are errors before anything is built.

`apply_options` is for --cfg-options: mmengine merges any key, and a key that nothing reads is silent.
`check_settings` is for the values of a config. Which keys are read: `mmmim.engine.keys`.
"""

import difflib
import fnmatch
import logging
import math
import re
from collections.abc import Callable, Collection, Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from mmengine import Config, DictAction
from mmengine.logging import print_log

from mmmim.engine.keys import READERS, TAKEN_OFF, accepted_keys, top_level_keys

# Set by a flag or read with the file, so that --cfg-options is too late or overwritten.
ELSEWHERE = {
    "epochs": "use --epochs, which rescales the schedules too",
    "launcher": "use --launcher",
    "custom_imports": "it is read with the config file: write it there",
    "_base_": "it is read with the config file: write it there",
}
# A value of these settings is text, even if it looks like a number or a list.
PATHS = re.compile(
    r"(^|[._])(root|dir|path|file|prefix|folder|checkpoint|load_from|name)$|\bdata_prefix\.\w+$"
)


class OptionsAction(DictAction):
    """mmengine's DictAction that also keeps the text of each value: it parses 2024 and drops spaces."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        options = Options(getattr(namespace, self.dest, None) or {})
        options.text.update(getattr(getattr(namespace, self.dest, None), "text", {}))
        for pair in values:
            key, equals, text = pair.partition("=")
            if not equals:
                parser.error(f"argument {option_string}: expected KEY=VALUE, got '{pair}'")
            options.text[key] = text.strip("'\"")
            try:
                options[key] = self._parse_iterable(text)
            except AssertionError:  # a single bracket, as in a file's name
                options[key] = options.text[key]
        setattr(namespace, self.dest, options)


class Options(dict):
    """Parsed values of --cfg-options, with their text."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.text: dict[str, str] = {}

    def value(self, cfg: Config, key: str) -> Any:
        """A path, or what would otherwise be a string without its spaces, as it was written."""
        parsed, text = self[key], self.text.get(key)
        is_list = isinstance(parsed, (list, tuple)) and text is not None and text[:1] in ("[", "(")
        if text is None or parsed is None or is_list:
            return parsed
        present = look_up(cfg, key)
        is_path = PATHS.search(key) or (isinstance(present, str) and "/" in present)
        return text if isinstance(parsed, str) or (is_path and not isinstance(parsed, bool)) else parsed


def apply_options(cfg: Config, options: dict[str, Any]) -> None:
    """Check the keys of --cfg-options, and merge them into a config.

    Args:
        cfg: changed in place.
        options: dotted key -> value.

    Raises:
        ValueError: nothing reads a key, or it cannot be set; the message names what to set.
    """
    check_options(cfg, options)
    if isinstance(options, Options):
        options = {key: options.value(cfg, key) for key in options}
    cfg.merge_from_dict(options)


def check_options(cfg: Config, options: dict[str, Any]) -> None:
    """Refuse options that nothing would read.

    Raises:
        ValueError: see `apply_options`.
    """
    for key, value in options.items():
        try:
            _check_variable(cfg, key)
            _check_path(cfg, key, options)
        except ValueError as error:
            raise ValueError(f"--cfg-options {key}={value}: {error}") from None


def _check_variable(cfg: Config, key: str) -> None:
    """Refuse a top-level name that only the config file itself reads."""
    name = key.partition(".")[0]
    if name in ELSEWHERE:
        raise ValueError(f"this has no effect: {ELSEWHERE[name]}")
    if name in top_level_keys():
        return
    if name not in cfg:
        cure = _cure(cfg, "", name, top_level_keys())
        raise ValueError(f"there is no setting `{name}`{cure}")
    places = _copies(cfg, name)
    if "batch" in name:
        places = [*dict.fromkeys([*places, "train_dataloader.batch_size"])]
        places[-1] += " (or use --batch-size)"
    cure = f"set {', '.join(places)}" if places else "change what it was used for, or the config file"
    raise ValueError(
        f"`{name}` is a variable within the config file, and nothing reads it afterwards: {cure}"
    )


def _copies(cfg: Config, name: str) -> list[str]:
    """Dotted paths of the settings that a variable of the config file was used for."""
    value = cfg[name]
    equal = [path for path, other in all_settings(cfg) if type(other) is type(value) and other == value]
    alike = [path for path in equal if _words(name) & _words(_last(path))]
    by_chance = isinstance(value, int) and value <= 100
    equal = alike or ([] if by_chance else equal)
    leaves = (path for path, other in all_settings(cfg) if not isinstance(other, (dict, list)))
    word = {name.rpartition("_")[2]}
    return (equal or [path for path in leaves if word & {*_last(path).split("_")}])[:6]


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _words(name: str) -> set[str]:
    """Beginnings of the words of a name: accumulate is alike accumulative_counts."""
    words = {word[:4] for word in name.split("_")} - {"per"}
    return words | {"end", "begi"} if "warm" in words else words


def all_settings(cfg: Config) -> Iterator[tuple[str, Any]]:
    """Dotted path and value of every setting at or below the top-level keys that are read."""
    for name in cfg:
        if name in top_level_keys():
            yield from _below(name, cfg[name])


def _below(path: str, node: Any) -> Iterator[tuple[str, Any]]:
    yield path, node
    pairs: Any = ()
    if isinstance(node, dict):
        pairs = node.items()
    elif isinstance(node, (list, tuple)):
        pairs = enumerate(node)
    for key, value in pairs:
        yield from _below(f"{path}.{key}", value)


def look_up(cfg: Config, key: str) -> Any:
    """The value at a dotted path; None if there is none."""
    node: Any = cfg
    for name in key.split("."):
        if isinstance(node, (dict, Config)):
            node = node.get(name)
        elif isinstance(node, list) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        else:
            return None
    return node


def _check_path(cfg: Config, key: str, options: dict[str, Any]) -> None:
    """Follow a dotted path; refuse a name that its dict does not take, or that cannot be merged."""
    path, *names = key.split(".")
    node = cfg.get(path, {})
    for name in names:
        if isinstance(node, list):
            node = _item(key, path, name, node)
        elif isinstance(node, dict):
            if name not in node:
                _check_new(cfg, key, path, name, options)
            node = node.get(name, {})
        else:
            raise ValueError(
                f"`{path}` is {node!r}, which has no `{name}`: set `{path}` as a "
                "whole, in a config file if it is to be a dict"
            )
        path = f"{path}.{name}"
    _check_replaced(key, node, options[key])


def _item(key: str, path: str, name: str, node: list[Any]) -> Any:
    if name.isdigit() and int(name) < len(node):
        return node[int(name)]
    kinds = (item.get("type", "dict") if isinstance(item, dict) else item for item in node)
    items = ", ".join(f"{path}.{i} ({kind})" for i, kind in enumerate(kinds))
    raise ValueError(f"`{path}` is a list, got `{name}`: use one of {items}")


def _check_replaced(key: str, node: Any, value: Any) -> None:
    """Refuse to put a number or a string in the place of settings; None may take it."""
    if value is None or isinstance(value, (dict, list, tuple)):
        return
    inner = []
    if isinstance(node, dict) and ("type" in node or key in READERS):
        inner = [f"{key}.{name}" for name in node]
    elif isinstance(node, list) and node and isinstance(node[0], dict):
        inner = [f"{key}.0.{name}" for name in node[0]]
    if inner:
        raise ValueError(f"`{key}` consists of settings: set those, such as {', '.join(inner[:4])}")


def _check_new(cfg: Config, key: str, path: str, name: str, options: dict[str, Any]) -> None:
    """Refuse a new key of a dict that does not take it, or that is one letter from a key it has."""
    present = look_up(cfg, path) or {}
    inside = {k.removeprefix(f"{path}."): v for k, v in options.items() if k.startswith(f"{path}.")}
    # The options may change the type, too.
    node = {**present, **{k: v for k, v in inside.items() if "." not in k}}
    known = accepted_keys(path, node, cfg.get("default_scope") or "mmengine")
    if name == "_delete_" or (path == "default_hooks" and f"{name}.type" in inside):
        return
    if known is None:
        near = difflib.get_close_matches(name, present, 1, cutoff=0.88)
        if not near or re.search(r"\d", name):
            return
        known = set(near)
    if name not in known:
        raise ValueError(f"{_owner(path, node)} has no setting `{name}`{_cure(cfg, path, name, known)}")


def _owner(path: str, node: dict[str, Any]) -> str:
    kind = node.get("type")
    return f"`{path}` ({getattr(kind, '__name__', kind)})" if kind else f"`{path}`"


def _cure(cfg: Config, path: str, name: str, known: Collection[str]) -> str:
    """What an unknown name may have meant, or what its dict takes."""
    dot = f"{path}." if path else ""
    names = [f"{dot}{near}" for near in difflib.get_close_matches(name, known, 1, cutoff=0.7)]
    names = names or _takers(cfg, path, name)
    if names:
        return f"; did you mean {' or '.join(names)}?"
    return f"; it has {', '.join(sorted(set(known) - TAKEN_OFF)) or 'none'}" if path else ""


def _takers(cfg: Config, path: str, name: str) -> list[str]:
    """Dotted paths within `path` at which `name` is a setting."""
    scope = cfg.get("default_scope") or "mmengine"
    found = [
        f"{where}.{name}"
        for where, node in all_settings(cfg)
        if isinstance(node, dict)
        and (name in node or name in (accepted_keys(where, node, scope) or ()))
    ]
    return [taker for taker in found if not path or taker.startswith(f"{path}.")][:3]


def _is_integer(value: Any, least: float) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_positive(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0


def _count(value: Any) -> bool:
    """1 or more; 1e5 is a float."""
    return _is_integer(int(value) if isinstance(value, float) and value.is_integer() else value, 1)


def _count_or_off(value: Any) -> bool:
    return value == -1 or _count(value)


Rule = tuple[str, Callable[[Any], bool], str]
# Pattern of dotted paths, what the value must fulfil, and that in words.
RULES: tuple[Rule, ...] = (
    ("train_cfg.max_epochs", _count, "an integer of 1 or more"),
    ("train_cfg.max_iters", _count, "an integer of 1 or more"),
    ("train_cfg.val_interval", _count, "an integer of 1 or more (--no-validate: no evaluation)"),
    ("*_dataloader.batch_size", lambda v: _is_integer(v, 1), "an integer of 1 or more"),
    ("*_dataloader.num_workers", lambda v: _is_integer(v, 0), "an integer of 0 or more"),
    ("optim_wrapper.accumulative_counts", lambda v: _is_integer(v, 1), "an integer of 1 or more"),
    ("optim_wrapper.optimizer.lr", _is_positive, "a number above 0"),
    (
        "optim_wrapper.clip_grad.max_norm",
        _is_positive,
        "a number above 0 (clip_grad=None: no clipping)",
    ),
    ("auto_scale_lr.base_batch_size", _is_positive, "the images per update, 1 or more"),
    ("default_hooks.logger.interval", lambda v: _is_integer(v, 1), "an integer of 1 or more"),
    ("default_hooks.*.interval", _count_or_off, "an integer of 1 or more, or -1 for never"),
    ("custom_hooks.*.interval", _count_or_off, "an integer of 1 or more, or -1 for never"),
    ("default_hooks.checkpoint.max_keep_ckpts", _count_or_off, "1 or more, or -1 for all"),
    ("randomness.seed", lambda v: v is None or _is_integer(v, 0), "an integer of 0 or more, or None"),
    ("model*.mask_ratio", lambda v: _is_positive(v) and v < 1, "a number between 0 and 1"),
)

# mmengine writes a config as Python code, and these have none.
UNWRITABLE = (FunctionType, BuiltinFunctionType, ModuleType)


def check_settings(cfg: Config) -> None:
    """Refuse values that no training can have, and hooks and readers with keys that they do not take.

    Raises:
        ValueError: the message has the dotted setting, its value, and what is expected.
    """
    check_written(cfg)
    for path, value in all_settings(cfg):
        for pattern, fulfils, expected in RULES:
            if fnmatch.fnmatchcase(path, pattern) and not fulfils(value):
                raise ValueError(f"{path} must be {expected}, got {value!r}")
        if isinstance(value, dict) and (path in READERS or re.match(r"(default|custom)_hooks\.", path)):
            _check_keys(cfg, path, value)
    _check_schedule(cfg)


def _check_keys(cfg: Config, path: str, node: dict[str, Any]) -> None:
    known = accepted_keys(path, node, cfg.get("default_scope") or "mmengine")
    if known is None or path == "default_hooks":  # a config may add hooks under any name
        return
    for name in sorted(set(node) - known):
        raise ValueError(f"{_owner(path, node)} has no setting `{name}`{_cure(cfg, path, name, known)}")


def _check_schedule(cfg: Config) -> None:
    """Refuse a warm-up beyond the end of training, but only note it where the recipe was cut short."""
    loop = cfg.get("train_cfg") or {}
    unit = "max_epochs" if "max_epochs" in loop else "max_iters"
    total = loop.get(unit)
    schedulers = cfg.get("param_scheduler") or []
    for i, scheduler in enumerate(schedulers if isinstance(schedulers, list) else ()):
        if total is None or scheduler.get("by_epoch", True) != (unit == "max_epochs"):
            continue
        end = scheduler.get("end")
        if scheduler.get("type") != "LinearLR" or end is None or end <= total:
            continue
        message = (
            f"param_scheduler.{i}.end={end}: the warm-up is longer than the training, "
            f"train_cfg.{unit}={total}, so the learning rate never reaches its value. "
            + ("--epochs N shortens both; or set " if "epochs" in cfg else "Set ")
            + f"param_scheduler.{i}.end to {total} or less"
        )
        recipe = cfg.get("epochs" if unit == "max_epochs" else "iterations")
        if not (isinstance(recipe, int) and end <= recipe):
            raise ValueError(message)
        print_log(message, logger="current", level=logging.WARNING)


def check_written(cfg: Config) -> None:
    """Refuse a function in a config, which mmengine could not write into the work dir.

    Raises:
        ValueError: the message names the setting.
    """
    for name in cfg:
        for path, value in _below(name, cfg[name]):
            if isinstance(value, UNWRITABLE) and not cfg._imported_names:
                raise ValueError(
                    f"{path} is the Python object {value.__name__}, which mmengine cannot write to "
                    "the work dir: remove it, or register a function and write its name"
                )


def fit_workers(cfg: Config) -> None:
    """`num_workers=0`, for debugging, turns off what torch allows with workers only."""
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        loader = cfg.get(name) or {}
        if loader.get("num_workers", 0) == 0:
            for key in ("persistent_workers", "prefetch_factor"):
                loader.pop(key, None)
