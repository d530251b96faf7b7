"""Verify a conversion: the forward passes of both models agree on a random image."""

import functools
import importlib.util
import math
from typing import Any

import torch
from torch import Tensor

from mmmim.checkpoints.formats import FORMATS, State, export
from mmmim.masking import PatchMask
from mmmim.registry import MODELS

# Equivalent float32 arithmetic differs by about this, relative to the largest value.
TOLERANCE = 1e-4


class ParityError(RuntimeError):
    """The converted weights do not compute what the original weights compute."""


def verify_conversion(name: str, original: State, ours: State) -> str:
    """Compare the encoder of `original`, weights of the format `name`, with ours.

    The reference is timm's VisionTransformer for official and timm weights, and mmpretrain's for
    mmselfsup and mmpretrain. ViTDet, ConvViT and MixMIM have no installable reference: golden values
    in tests/parity compare them with the official code, and the result says so.

    Returns:
        The result in one line.

    Raises:
        ParityError: the outputs differ by more than rounding.
    """
    if name == "vitdet":
        return "forward parity: not run (needs detectron2, see tests/parity/test_transfer.py)"
    if "backbone.patch_embed4.weight" in ours:
        return "forward parity: not run (no package has a ConvViT, see tests/parity/test_convmae.py)"
    if "backbone.absolute_pos_embed" in ours:
        return "forward parity: not run (see tests/parity/test_mixmim.py)"
    if any(".relative_position." in key for key in ours):
        return "forward parity: not run (the backbone has relative positions)"
    package = "mmpretrain" if name == "mmpretrain" else "timm"
    if importlib.util.find_spec(package) is None:
        extra = "classification" if name == "mmpretrain" else "teachers"
        return f"forward parity: not run (needs {package}: pip install 'mmmim[{extra}]')"
    backbone = _plain_vit(ours)
    images = torch.randn(2, 3, backbone.img_size, backbone.img_size)
    if name == "mmpretrain":
        expected = _mmpretrain_tokens(original, backbone, images)
    else:
        theirs = FORMATS["mae"].prepare(original)[0] if name == "mae" else export(ours, "timm")[0]
        expected = _timm_tokens(theirs, images)
    with torch.no_grad():
        length = backbone.grid_size[0] * backbone.grid_size[1]
        mask = PatchMask.all_visible(2, length, images.device)
        tokens = backbone.encode_visible(images, mask)
    error = ((tokens - expected).abs().max() / expected.abs().max()).item()
    if not error <= TOLERANCE:
        raise ParityError(
            f"the converted encoder differs from {package}'s by {error:.1e} (allowed {TOLERANCE:g}): "
            "the checkpoint holds something that this conversion does not know"
        )
    return f"forward parity with {package}: largest difference {error:.1e} of the largest value"


def _geometry(state: State) -> dict[str, int]:
    """Sizes of a plain ViT with our names.

    Weights do not reveal the number of heads. Both models get heads of width 64, as in every published
    size, which is enough for a comparison.
    """
    dim, _, patch, _ = state["backbone.patch_embed.proj.weight"].shape
    depth = 1 + max(int(k.split(".")[2]) for k in state if k.startswith("backbone.blocks."))
    side = math.isqrt(state["backbone.pos_embed"].shape[1])  # a row for the class token does not matter
    heads = dim // 64 if dim % 64 == 0 else 1
    return dict(dim=dim, depth=depth, heads=heads, patch=patch, size=side * patch)


def _plain_vit(state: State) -> Any:
    g = _geometry(state)
    backbone = MODELS.build(
        dict(
            type="ViT",
            arch=dict(embed_dims=g["dim"], depth=g["depth"], num_heads=g["heads"]),
            img_size=g["size"],
            patch_size=g["patch"],
            with_cls_token="backbone.cls_token" in state,
            final_norm="backbone.norm.weight" in state,
            layer_scale=1.0 if "backbone.blocks.0.ls1.gamma" in state else None,
        )
    ).eval()
    weights = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    backbone.load_state_dict(weights)
    return backbone


@torch.no_grad()
def _timm_tokens(state: State, images: Tensor) -> Tensor:
    from timm.models.vision_transformer import VisionTransformer

    geometry = _geometry({f"backbone.{k}": v for k, v in state.items()})
    without_token: dict[str, Any] = {}
    if "cls_token" not in state:
        without_token = dict(class_token=False, global_pool="avg", fc_norm=False)
    model = VisionTransformer(
        img_size=geometry["size"],
        patch_size=geometry["patch"],
        embed_dim=geometry["dim"],
        depth=geometry["depth"],
        num_heads=geometry["heads"],
        num_classes=0,
        **without_token,
        init_values=1.0 if "blocks.0.ls1.gamma" in state else None,
        norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-6),
    ).eval()
    if "norm.weight" not in state:
        model.norm = torch.nn.Identity()
    model.load_state_dict({k: v for k, v in state.items() if k in model.state_dict()})
    return model.forward_features(images)


@torch.no_grad()
def _mmpretrain_tokens(state: State, backbone: Any, images: Tensor) -> Tensor:
    from mmpretrain.models import VisionTransformer

    model = VisionTransformer(
        arch=dict(
            embed_dims=backbone.embed_dims,
            num_layers=backbone.num_layers,
            num_heads=backbone.num_heads,
            feedforward_channels=4 * backbone.embed_dims,
        ),
        img_size=backbone.img_size,
        patch_size=backbone.patch_size,
        norm_cfg=dict(type="LN", eps=1e-6),
        final_norm="backbone.ln1.weight" in state,
        out_type="raw",
    )
    model.eval()  # returns nothing in mmpretrain
    names = model.state_dict()
    weights = {k.removeprefix("backbone."): v for k, v in state.items()}
    model.load_state_dict({k: v for k, v in weights.items() if k in names})
    return model(images)[-1]
