"""Detect the format of a checkpoint, and convert its keys to ours and back.

Every module here registers the formats of one family.
"""

import re

from mmmim.checkpoints.formats import convmae, maskalign, mixmim, native, vit  # noqa: F401
from mmmim.checkpoints.formats.base import FORMATS, Format, State, register_format, rename

__all__ = [
    "FORMATS",
    "Format",
    "all_exports",
    "convert",
    "detect_format",
    "export",
    "find_format",
    "list_exports",
    "register_format",
]

# Registers, norms before the first block or of queries and keys, mmpretrain's LayerScale: the function
# of an encoder depends on them.
UNSUPPORTED = r"reg_tokens?\b|register_tokens|norm_pre\.|pre_norm\.|\b[qk]_norm\.|\bgamma_?[12]\b"


def find_format(state: State) -> str | None:
    """The format of these weights, a key of FORMATS, or None."""
    return next((name for name, spec in FORMATS.items() if spec.fits(state)), None)


def detect_format(state: State) -> str:
    """The format of these weights, a key of FORMATS.

    Raises:
        ValueError: no format fits.
    """
    if name := find_format(state):
        return name
    known = ", ".join(f"{name} ({spec.description})" for name, spec in FORMATS.items())
    raise ValueError(
        f"no known checkpoint format fits; the first keys are {list(state)[:3]}. Known: {known}. "
        "Rename the keys to one of these, or register a format (docs/add_a_method.md)"
    )


def convert(state: State) -> tuple[State, list[str]]:
    """Weights of any known format under our names, and the keys that have no place here.

    Raises:
        ValueError: unknown format, or an encoder with layers that no backbone of ours has.
    """
    converted, left_out = FORMATS[detect_format(state)].read(state)
    if unsupported := [key for key in left_out if re.search(UNSUPPORTED, key)]:
        raise ValueError(
            f"the encoder has the weights {', '.join(unsupported[:3])}, which our backbones lack; "
            "dropping them would change its output. Use another checkpoint, or this one as a teacher "
            "of MaskAlign, which timm runs"
        )
    return converted, left_out


def list_exports(state: State) -> list[str]:
    """The targets of `export` that have names for these weights of ours."""
    formats = (spec.export_name or spec.name for spec in FORMATS.values() if spec.can_write(state))
    return ["mmmim", "backbone", *formats]


def all_exports() -> list[str]:
    """Every target of `export`."""
    formats = (spec.export_name or spec.name for spec in FORMATS.values() if spec.exported)
    return ["mmmim", "backbone", *formats]


def export(state: State, target: str) -> tuple[State, list[str]]:
    """Our weights under the names of `target`, and our keys that have no place there.

    Args:
        state: weights under our names.
        target: "mmmim" (all weights), "backbone" (`backbone.*` only), or the export name of a format.

    Raises:
        ValueError: the target is unknown, or has no names for this model.
    """
    if target not in list_exports(state):
        raise ValueError(
            f"'{target}' has no names for these weights: use one of {', '.join(list_exports(state))}"
        )
    if target == "mmmim":
        return state, []
    if target == "backbone":
        return rename(state, ((r"(backbone\..*)", r"\1"),))
    spec = next(s for s in FORMATS.values() if s.exported and target in (s.export_name, s.name))
    return spec.write(state)
