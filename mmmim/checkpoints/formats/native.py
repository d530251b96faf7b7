"""Who wrote these weights, and what are they called here?

Every format is a table of (pattern, replacement); a key that no pattern matches has no place in a
model of ours and is left out, by name.
"""

import re

from torch import Tensor

from mmmim.checkpoints.formats import convmae, maskalign, mixmim, vit
from mmmim.checkpoints.formats.common import Format, rename

MMMIM = Format(
    "this project's",
    r"backbone\.(?:blocks3?|layers\.0\.blocks)\.0\.norm1\.weight",
    ((r"(.*)", r"\1"),),
)

# The first whose signature is there: official segmenters of ConvMAE look like ours but for one weight.
FORMATS: dict[str, Format] = {
    "convmae-upernet": convmae.CONVMAE_UPERNET,
    "convmae-fpn": convmae.CONVMAE_FPN,
    "convmae-vitdet": convmae.CONVMAE_VITDET,
    "convmae": convmae.CONVMAE,
    "mmpretrain-mixmim": mixmim.MMPRETRAIN_MIXMIM,
    "mixmim": mixmim.MIXMIM,
    "mmmim": MMMIM,
    "vitdet": vit.VITDET,
    "maskalign": maskalign.MASKALIGN,
    "mmpretrain": vit.MMPRETRAIN,
    "mae": vit.MAE,
}


# Registers, norms before the first block or of queries and keys, mmpretrain's LayerScale: what an
# encoder's function depends on.
FOREIGN = r"reg_tokens?\b|register_tokens|norm_pre\.|pre_norm\.|\b[qk]_norm\.|\bgamma_?[12]\b"


def find_format(state: dict[str, Tensor]) -> str | None:
    """Name of the format of these weights, a key of FORMATS, or None where none fits."""
    for name, spec in FORMATS.items():
        if any(re.fullmatch(spec.signature, key) for key in state):
            return name
    return None


def recognise(state: dict[str, Tensor]) -> str:
    """Name of the format of these weights, a key of FORMATS.

    Raises:
        ValueError: none fits.
    """
    if name := find_format(state):
        return name
    known = ", ".join(f"{name} ({spec.description})" for name, spec in FORMATS.items())
    raise ValueError(
        f"no key of the checkpoint fits a known format; known are {known}; "
        f"the checkpoint begins with {list(state)[:3]}"
    )


def to_mmmim(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Weights of any known format under our names, and the keys that have no place here.

    Raises:
        ValueError: the format is not known, or an encoder computes what none of ours does.
    """
    spec = FORMATS[recognise(state)]
    prepared, unread = spec.prepare(state)
    renamed, left_out = rename(prepared, spec.rules)
    if foreign := [key for key in left_out if re.search(FOREIGN, key)]:
        raise ValueError(
            f"the checkpoint's encoder has {', '.join(foreign[:3])}, which no backbone of this project "
            "has, and without which it would be another function. As MaskAlign's teacher timm builds it"
        )
    return {name: spec.values(name, value) for name, value in renamed.items()}, left_out + unread


def to_backbone(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The backbone's weights alone, names kept, and the keys left out."""
    return rename(state, ((r"(backbone\..*)", r"\1"),))
