"""Old names that a user's config may still hold: accepted for one release, with a warning."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from mmengine.registry import Registry

F = TypeVar("F", bound=Callable[..., Any])


def renamed_arguments(**new_names: str) -> Callable[[F], F]:
    """Decorate a function so that it accepts arguments by their old names.

    Args:
        new_names: old name = new name.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            for old, new in new_names.items():
                if old not in kwargs:
                    continue
                if new in kwargs:
                    raise TypeError(f"got both '{new}' and its old name '{old}': remove '{old}'")
                _warn(f"the argument '{old}' is now called '{new}'")
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        call.old_names = tuple(new_names)  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return decorate


def register_old_names(registry: Registry, **new_types: Callable[..., Any]) -> None:
    """Let configs build a registered type by its old name.

    Args:
        registry: that holds the types.
        new_types: old name = the type under its new name.
    """
    for old, new in new_types.items():
        registry.register_module(name=old, module=_forward(old, new))


def _forward(old: str, new: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(new, updated=())
    def build(*args: Any, **kwargs: Any) -> Any:
        _warn(f"the type '{old}' is now called '{new.__name__}'")
        return new(*args, **kwargs)

    return build


def _warn(what: str) -> None:
    message = f"{what}; change the config, the old name will be removed in the next release"
    warnings.warn(message, FutureWarning, stacklevel=3)
