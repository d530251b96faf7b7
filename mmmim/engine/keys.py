"""Which keys a dict of a config may have: the parameters of what it builds, or of what reads it."""

import ast
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mmengine import registry as mmengine_registry
from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapper
from mmengine.registry import Registry
from mmengine.runner import (
    EpochBasedTrainLoop,
    FlexibleRunner,
    IterBasedTrainLoop,
    LogProcessor,
    Runner,
    TestLoop,
    ValLoop,
)
from mmengine.utils.dl_utils import set_multi_processing
from mmengine.visualization import Visualizer
from torch import nn
from torch.utils.data import DataLoader

Keys = set[str] | None  # None: anything may be a key
ROOTS = [r for r in vars(mmengine_registry).values() if isinstance(r, Registry)]
# Keys that are taken off before a constructor is called: by a registry, a hook's registration, a
# scheduler's conversion and mmcv's build_norm_layer.
TAKEN_OFF = {"type", "_scope_", "_delete_", "priority", "convert_to_iter_based", "requires_grad"}
# Where a constructor that keeps its **kwargs for later passes them.
LATER: dict[Any, Callable[..., Any]] = {CheckpointHook.__init__: Runner.save_checkpoint}
# Constructors that take no arguments, whatever their signature says.
NO_ARGUMENTS = (object.__init__, nn.Module.__init__)
# Of Runner.register_default_hooks.
DEFAULT_HOOKS = {
    "runtime_info",
    "timer",
    "sampler_seed",
    "logger",
    "param_scheduler",
    "checkpoint",
}


@functools.cache
def parameters(target: Any) -> Keys:
    """Names that a class or function takes, with those that its **kwargs pass on.

    None if the **kwargs go to an unknown place.
    """
    target = inspect.unwrap(target)
    if not inspect.isclass(target):
        return _parameters((target,))
    return _parameters(
        tuple(c.__dict__["__init__"] for c in target.__mro__ if "__init__" in c.__dict__)
    )


def _parameters(functions: Sequence[Any]) -> Keys:
    """Parameters of the first function; those after it are what `super().__init__` calls."""
    function, inherited = functions[0], functions[1:]
    if function in NO_ARGUMENTS:
        return set()
    try:
        signature = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    names = {p.name for p in signature if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    names |= set(getattr(function, "old_names", ())) - {"self"}
    rest = next((p.name for p in signature if p.kind is p.VAR_KEYWORD), None)
    if rest is None:
        return names - {"self"}
    passed_on = _passed_on(function, rest, inherited)
    return None if passed_on is None else (names | passed_on) - {"self"}


def _passed_on(function: Any, rest: str, inherited: Sequence[Any]) -> Keys:
    """Names that a function takes as **`rest`: those that it reads, and those that its callees take."""
    if function in LATER:
        return parameters(LATER[function])
    function = inspect.unwrap(function)
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return None
    callees = [
        node.func for node in ast.walk(tree) if isinstance(node, ast.Call) and _passes(node, rest)
    ]
    names = read_keys(ast.unparse(tree), rest)
    uses = sum(isinstance(node, ast.Name) and node.id == rest for node in ast.walk(tree))
    if uses != len(callees) + len(names):
        return None
    found = set(names)
    for callee in map(ast.unparse, callees):
        if callee.startswith("super(") and callee.endswith(").__init__"):
            taken = _parameters(inherited)
        else:
            taken = parameters(function.__globals__.get(callee, vars))
        if taken is None:
            return None
        found |= taken
    return found


def _passes(node: ast.Call, rest: str) -> bool:
    """Whether a call has `**rest`."""
    return any(
        k.arg is None and isinstance(k.value, ast.Name) and k.value.id == rest for k in node.keywords
    )


def read_keys(code: str, variable: str) -> list[str]:
    """The literal keys that code reads from a variable, such as "cfg" or "self.cfg"."""
    name = rf"(?<![\w.]){re.escape(variable)}"
    reads = rf"{name}(?:\.(?:get|pop|setdefault)\(|\[)\s*['\"](\w+)['\"]"
    tests = rf"['\"](\w+)['\"] (?:not )?in {name}\b"
    return [*re.findall(reads, code), *re.findall(tests, code)]


@functools.cache
def keys_read(code: Any, variable: str) -> frozenset[str]:
    """`read_keys` of a function or module."""
    return frozenset(read_keys(inspect.getsource(code), variable))


def find_types(name: Any, scope: str) -> list[Any]:
    """Everything that a `type` may mean, in any registry; nothing if it is not found."""
    if not isinstance(name, str):
        return [name] if callable(name) else []
    own, key = Registry.split_scope_key(name)
    try:
        importlib.import_module(f"{own or scope}.registry")
        registries = [found for root in ROOTS for found in _registries(root, own, scope)]
        for registry in registries:
            registry.import_from_location()
    except ImportError:  # of an optional package
        return []
    return [registry.module_dict[key] for registry in registries if key in registry.module_dict]


def _registries(root: Registry, own: str | None, scope: str) -> Iterator[Registry]:
    child = root.children.get(own or scope)
    if child is not None:  # an empty one is false, until it imports its types
        yield child
    if own in (None, root.scope):
        yield root


def accepted_keys(path: str, node: dict[str, Any], scope: str) -> Keys:
    """Keys that the dict at a dotted path may have; None if any.

    Args:
        path: of the dict in the config; empty for the config itself.
        node: the dict.
        scope: `default_scope` of the config.
    """
    if path in READERS:
        return READERS[path](node, scope)
    return _typed(node, scope)


def _typed(node: dict[str, Any], scope: str, default: Any = None) -> Keys:
    """Keys of a dict that builds its `type`, or the default without one."""
    scope = node.get("_scope_", scope)
    types = find_types(node["type"], scope) if node.get("type") else [default] if default else []
    names = [parameters(found) for found in types]
    if not names or None in names:
        return None
    return TAKEN_OFF.union(*(found for found in names if found))


def _dataloader(node: dict[str, Any], scope: str) -> Keys:
    return {*(parameters(DataLoader) or ()), *keys_read(Runner.build_dataloader, "dataloader_cfg")}


def _optim_wrapper(node: dict[str, Any], scope: str) -> Keys:
    names = _typed(node, scope, OptimWrapper)
    return names and names | {"constructor", "paramwise_cfg"}


def _clip_grad(node: dict[str, Any], scope: str) -> Keys:
    clip = (nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_)
    return {"type"}.union(*(parameters(inspect.unwrap(f)) or () for f in clip))


def _train_loop(node: dict[str, Any], scope: str) -> Keys:
    if "type" in node:
        return _typed(node, scope)
    loops = [EpochBasedTrainLoop, IterBasedTrainLoop]
    if "by_epoch" in node:
        loops = [loops[0 if node["by_epoch"] else 1]]
    return {"type", "by_epoch"}.union(*(parameters(loop) or () for loop in loops))


def _default(target: Any) -> Callable[[dict[str, Any], str], Keys]:
    return lambda node, scope: _typed(node, scope, target)


def _fixed(names: Callable[[], Keys]) -> Callable[[dict[str, Any], str], Keys]:
    return lambda node, scope: names()


# Dotted path -> keys of its dict, for dicts without a type.
READERS: dict[str, Callable[[dict[str, Any], str], Keys]] = {
    "train_dataloader": _dataloader,
    "val_dataloader": _dataloader,
    "test_dataloader": _dataloader,
    "train_cfg": _train_loop,
    "val_cfg": _default(ValLoop),
    "test_cfg": _default(TestLoop),
    "optim_wrapper": _optim_wrapper,
    "optim_wrapper.clip_grad": _clip_grad,
    "default_hooks": _fixed(lambda: DEFAULT_HOOKS),
    "auto_scale_lr": _fixed(lambda: set(keys_read(Runner.scale_lr, "auto_scale_lr"))),
    "randomness": _fixed(lambda: parameters(Runner.set_randomness)),
    "env_cfg": _fixed(lambda: set(keys_read(Runner.setup_env, "env_cfg"))),
    "env_cfg.mp_cfg": _fixed(lambda: parameters(set_multi_processing)),
    "log_processor": _default(LogProcessor),
    "visualizer": _default(Visualizer),
}


@functools.cache
def top_level_keys() -> frozenset[str]:
    """Top-level keys that mmengine's runners read, or this package while it prepares a run."""
    runners = (Runner, FlexibleRunner)
    names = set().union(*(parameters(runner) or () for runner in runners)) - {"cfg", "launcher"}
    names |= set().union(*(keys_read(inspect.getmodule(runner), "self.cfg") for runner in runners))
    # The last two are read by OpenMMLab's own tools.
    return frozenset(names | {"runner_type", "tta_model", "tta_pipeline"})
