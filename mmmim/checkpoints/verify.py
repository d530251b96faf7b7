"""Does a converted file compute the same? Forward both, on the same random image."""

import functools
import math

import torch
from torch import Tensor

from mmmim.checkpoints.formats import FORMATS, to_timm
from mmmim.registry import MODELS

# Different but equivalent arithmetic in float32 differs by about this, relative to the largest value.
TOLERANCE = 1e-4


class ParityError(RuntimeError):
    """The converted weights do not compute what the original weights do."""


def check_parity(name: str, original: dict[str, Tensor], ours: dict[str, Tensor]) -> str:
    """Compare the encoder of `original`, weights of format `name`, with ours. -> one line of result.

    The other side is timm's VisionTransformer for official and timm weights, mmpretrain's for
    mmselfsup and mmpretrain; detectron2 is not installed here, so for ViTDet the comparison is
    with values recorded from it (tests/parity/test_transfer.py), as for ConvViT
    and MixMIM (tests/parity), and this says so.

    Raises:
        ParityError: the outputs differ by more than rounding.
    """
    if name == "vitdet":
        return "forward parity: not run (needs detectron2; see tests/parity/test_transfer.py)"
    if "backbone.patch_embed4.weight" in ours:
        return "forward parity: not run (no package has a ConvViT; see tests/parity/test_convmae.py)"
    if "backbone.absolute_pos_embed" in ours:
        return "forward parity: not run here (see tests/parity/test_mixmim.py)"
    if any(".relative_position." in key for key in ours):
        return "forward parity: not run (a backbone fine-tuned with relative positions)"
    backbone = _plain_vit(ours)
    images = torch.randn(2, 3, backbone.img_size, backbone.img_size)
    theirs = FORMATS["mae"].prepare(original)[0] if name == "mae" else to_timm(ours)[0]
    expected, judge = _timm_tokens(theirs, images), "timm"
    if name == "mmpretrain":
        expected, judge = _mmpretrain_tokens(original, backbone, images), "mmpretrain"
    with torch.no_grad():
        mask = torch.zeros(2, backbone.grid[0] * backbone.grid[1], dtype=torch.bool)
        tokens = backbone.encode_visible(images, mask)
    error = ((tokens - expected).abs().max() / expected.abs().max()).item()
    if not error <= TOLERANCE:
        raise ParityError(
            f"the converted encoder differs from {judge}'s by {error:.1e} (allowed {TOLERANCE:g}); "
            "the checkpoint holds something this conversion does not know"
        )
    return f"forward parity with {judge}: largest difference {error:.1e} of the largest value"


def _geometry(state: dict[str, Tensor]) -> dict:
    """Sizes of a plain ViT with our names; heads are 64 wide, as in every published size.

    Weights do not tell the number of heads; both sides get the same, which is what a comparison needs.
    """
    dim, _, patch, _ = state["backbone.patch_embed.proj.weight"].shape
    depth = 1 + max(int(k.split(".")[2]) for k in state if k.startswith("backbone.blocks."))
    side = math.isqrt(state["backbone.pos_embed"].shape[1])  # with a row for the class token, or not
    heads = dim // 64 if dim % 64 == 0 else 1
    return dict(dim=dim, depth=depth, heads=heads, patch=patch, size=side * patch)


def _plain_vit(state: dict[str, Tensor]):
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
def _timm_tokens(state: dict[str, Tensor], images: Tensor) -> Tensor:
    from timm.models.vision_transformer import VisionTransformer

    geometry = _geometry({f"backbone.{k}": v for k, v in state.items()})
    model = VisionTransformer(
        img_size=geometry["size"],
        patch_size=geometry["patch"],
        embed_dim=geometry["dim"],
        depth=geometry["depth"],
        num_heads=geometry["heads"],
        num_classes=0,
        **({} if "cls_token" in state else dict(class_token=False, global_pool="avg", fc_norm=False)),
        init_values=1.0 if "blocks.0.ls1.gamma" in state else None,
        norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-6),
    ).eval()
    if "norm.weight" not in state:
        model.norm = torch.nn.Identity()
    model.load_state_dict({k: v for k, v in state.items() if k in model.state_dict()})
    return model.forward_features(images)


@torch.no_grad()
def _mmpretrain_tokens(state: dict[str, Tensor], backbone, images: Tensor) -> Tensor:
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
