"""Who wrote these weights, and what are they called here?

Every format is a table of (pattern, replacement); a key that no pattern matches has no place in a
pretraining method or backbone (a classifier head, say) and is left out, by name.
"""

import re
from dataclasses import dataclass

from torch import Tensor

Rules = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Format:
    """A naming of weights.

    Attributes:
        description: for messages.
        signature: a key that only this format has, as a pattern.
        rules: (pattern, replacement) from its names to ours; the first match wins.
    """

    description: str
    signature: str
    rules: Rules


# Inside a block, ours are timm's names.
_BLOCK = r"(?:norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(?:weight|bias)"
# ConvMAE's encoder, whose names are ours.
_CONV_VIT = (
    r"(pos_embed|patch_embed[123]\.(?:proj|norm)\.\w+|patch_embed4\.\w+"
    r"|blocks[12]\.\d+\.(?:norm[12]|conv[12]|attn|mlp\.fc[12])\.(?:weight|bias)"
    rf"|blocks3\.\d+\.{_BLOCK})"
)
# The 1x1 convolutions of its convolutional blocks, which are linear maps here.
_POINTWISE = r"backbone\.blocks[12]\.\d+\.(conv[12]|mlp\.fc[12])\.weight"
# mmpretrain's name of a layer inside a block -> ours.
_MMPRETRAIN_LAYERS = (
    (r"ln1", "norm1"),
    (r"ln2", "norm2"),
    (r"attn\.qkv", "attn.qkv"),
    (r"attn\.proj", "attn.proj"),
    (r"ffn\.layers\.0\.0", "mlp.fc1"),
    (r"ffn\.layers\.1", "mlp.fc2"),
)


def _detectron2_heads(norm: str) -> Rules:
    """Mask R-CNN's heads of detectron2 -> mmdet's; `norm` is what mmcv calls their norm layers."""
    box, mask = "roi_head.bbox_head", "roi_head.mask_head"
    layers = (
        *(
            (f"proposal_generator.rpn_head.conv.conv{i}", f"rpn_head.rpn_conv.{i}.conv")
            for i in range(2)
        ),
        ("proposal_generator.rpn_head.objectness_logits", "rpn_head.rpn_cls"),
        ("proposal_generator.rpn_head.anchor_deltas", "rpn_head.rpn_reg"),
        *((f"roi_heads.box_head.conv{i + 1}", f"{box}.shared_convs.{i}.conv") for i in range(4)),
        *((f"roi_heads.box_head.conv{i + 1}.norm", f"{box}.shared_convs.{i}.{norm}") for i in range(4)),
        ("roi_heads.box_head.fc1", f"{box}.shared_fcs.0"),
        ("roi_heads.box_predictor.cls_score", f"{box}.fc_cls"),
        ("roi_heads.box_predictor.bbox_pred", f"{box}.fc_reg"),
        *((f"roi_heads.mask_head.mask_fcn{i + 1}", f"{mask}.convs.{i}.conv") for i in range(4)),
        *((f"roi_heads.mask_head.mask_fcn{i + 1}.norm", f"{mask}.convs.{i}.{norm}") for i in range(4)),
        ("roi_heads.mask_head.deconv", f"{mask}.upsample"),
        ("roi_heads.mask_head.predictor", f"{mask}.conv_logits"),
    )
    return tuple((rf"{re.escape(theirs)}\.(\w+)", rf"{ours}.\1") for theirs, ours in layers)


FORMATS: dict[str, Format] = {
    "convmae-upernet": Format(
        "official ConvMAE, segmentation",
        r"backbone\.fpn\.0\.weight",
        (
            (rf"backbone\.{_CONV_VIT}", r"backbone.\1"),
            (r"backbone\.(blocks3\.\d+)\.gamma_([12])", r"backbone.\1.ls\2.gamma"),
            (
                r"backbone\.(blocks3\.\d+\.attn)\.relative_position_bias_table",
                r"backbone.\1.relative_position.table",
            ),
            (r"backbone\.fpn\.0\.(\w+)", r"neck.halve.conv.\1"),
            (r"backbone\.fpn\.1\.(\w+)", r"neck.halve.bn.\1"),
            (r"((?:decode|auxiliary)_head\..*)", r"\1"),
        ),
    ),
    "convmae-fpn": Format(
        "official ConvMAE, detection with an FPN",
        r"backbone\.bottom_up\.blocks1\.0\.norm1\.weight",
        (
            (rf"backbone\.bottom_up\.{_CONV_VIT}", r"backbone.\1"),
            *(
                (
                    rf"backbone\.bottom_up\.{theirs}_rel_pos_bias\.relative_position_bias_table",
                    f"backbone.{ours}_position.table",
                )
                for theirs, ours in (("windowed", "window"), ("global", "global"))
            ),
            *(
                (rf"backbone\.fpn_{theirs}{i + 2}\.{part}(\w+)", rf"neck.{ours}_convs.{i}.{name}.\1")
                for theirs, ours in (("lateral", "lateral"), ("output", "fpn"))
                for i in range(4)
                for part, name in ((r"norm\.", "bn"), ("", "conv"))
            ),
            *_detectron2_heads("bn"),
        ),
    ),
    "convmae-vitdet": Format(
        "official ConvMAE, detection with a simple feature pyramid",
        r"backbone\.net\.blocks1\.0\.norm1\.weight",
        (
            (rf"backbone\.net\.{_CONV_VIT}", r"backbone.\1"),
            (
                r"backbone\.net\.(blocks3\.\d+\.attn)\.(rel_pos_[hw])",
                r"backbone.\1.relative_position.\2",
            ),
            (r"backbone\.simfp_(\d)\.(.*)", r"neck.simfp_\1.\2"),
            *_detectron2_heads("ln"),
        ),
    ),
    "convmae": Format(
        "official ConvMAE or FastConvMAE",
        r"blocks1\.0\.norm1\.weight",
        (
            (_CONV_VIT, r"backbone.\1"),
            (r"stage([12])_output_decode\.(\w+)", r"fusion.stage\1.\2"),
            (r"norm\.(\w+)", r"fusion.norm.\1"),
            (r"mask_token", r"decoder.mask_token"),
            (r"decoder_(pos_embed|embed\.\w+|norm\.\w+|pred\.\w+)", r"decoder.\1"),
            (rf"decoder_(blocks\.\d+\.{_BLOCK})", r"decoder.\1"),
        ),
    ),
    "mmmim": Format(
        "this project's",
        r"backbone\.blocks3?\.0\.norm1\.weight",
        ((r"(.*)", r"\1"),),
    ),
    "vitdet": Format(
        "detectron2 ViTDet",
        r"backbone\.net\.blocks\.0\.norm1\.weight",
        (
            (r"backbone\.net\.(pos_embed|patch_embed\.proj\.\w+)", r"backbone.\1"),
            (rf"backbone\.net\.(blocks\.\d+\.{_BLOCK})", r"backbone.\1"),
            (
                r"backbone\.net\.(blocks\.\d+\.attn)\.(rel_pos_[hw])",
                r"backbone.\1.relative_position.\2",
            ),
            (r"backbone\.simfp_(\d)\.(.*)", r"neck.simfp_\1.\2"),
            *_detectron2_heads("ln"),
        ),
    ),
    "mmpretrain": Format(
        "mmselfsup, mmcls or mmpretrain",
        r"backbone\.layers\.0\.ln1\.weight",
        (
            (r"backbone\.(cls_token|pos_embed)", r"backbone.\1"),
            (r"backbone\.patch_embed\.projection\.(\w+)", r"backbone.patch_embed.proj.\1"),
            *(
                (rf"backbone\.layers\.(\d+)\.{theirs}\.(\w+)", rf"backbone.blocks.\1.{ours}.\2")
                for theirs, ours in _MMPRETRAIN_LAYERS
            ),
            (r"backbone\.ln1\.(\w+)", r"backbone.norm.\1"),
            (r"neck\.mask_token", r"decoder.mask_token"),
            (r"neck\.decoder_(pos_embed|embed\.\w+|pred\.\w+)", r"decoder.\1"),
            *(
                (rf"neck\.decoder_blocks\.(\d+)\.{theirs}\.(\w+)", rf"decoder.blocks.\1.{ours}.\2")
                for theirs, ours in _MMPRETRAIN_LAYERS
            ),
            (r"neck\.(?:ln1|decoder_norm)\.(\w+)", r"decoder.norm.\1"),
        ),
    ),
    "mae": Format(
        "official MAE or timm",
        r"blocks\.0\.norm1\.weight",
        (
            (r"(cls_token|pos_embed|patch_embed\.proj\.\w+|norm\.\w+)", r"backbone.\1"),
            (rf"(blocks\.\d+\.(?:{_BLOCK}|ls[12]\.gamma))", r"backbone.\1"),
            (r"mask_token", r"decoder.mask_token"),
            (r"decoder_(pos_embed|embed\.\w+|norm\.\w+|pred\.\w+)", r"decoder.\1"),
            (rf"decoder_(blocks\.\d+\.{_BLOCK})", r"decoder.\1"),
        ),
    ),
}


def recognise(state: dict[str, Tensor]) -> str:
    """Name of the format of these weights, a key of FORMATS.

    Raises:
        ValueError: none fits.
    """
    for name, spec in FORMATS.items():
        if any(re.fullmatch(spec.signature, key) for key in state):
            return name
    known = ", ".join(f"{name} ({spec.description})" for name, spec in FORMATS.items())
    raise ValueError(
        f"no key of the checkpoint fits a known format; known are {known}; "
        f"the checkpoint begins with {list(state)[:3]}"
    )


def to_mmmim(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Weights of any known format under our names, and the keys that have no place here.

    Raises:
        ValueError: the format is not known.
    """
    renamed, left_out = _rename(state, FORMATS[recognise(state)].rules)
    for name, value in renamed.items():
        if value.ndim == 4 and re.fullmatch(_POINTWISE, name):
            renamed[name] = value.flatten(1)
    return renamed, left_out


def to_convmae(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """A `ConvViT` of ours under the official names, and what the official encoder cannot hold."""
    convolutions = {
        name: value[:, :, None, None] if re.fullmatch(_POINTWISE, name) else value
        for name, value in state.items()
    }
    return _rename(convolutions, ((rf"backbone\.{_CONV_VIT}", r"\1"),))


def to_timm(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Our weights under timm's names for a plain `VisionTransformer`, and what timm cannot hold."""
    names = r"(cls_token|pos_embed|patch_embed\.proj\.\w+|norm\.\w+)"
    return _rename(
        state,
        (
            (rf"backbone\.{names}", r"\1"),
            (rf"backbone\.(blocks\.\d+\.(?:{_BLOCK}|ls[12]\.gamma))", r"\1"),
        ),
    )


def to_backbone(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The backbone's weights alone, names kept, and the keys left out."""
    return _rename(state, ((r"(backbone\..*)", r"\1"),))


def _rename(state: dict[str, Tensor], rules: Rules) -> tuple[dict[str, Tensor], list[str]]:
    renamed, left_out = {}, []
    for key, value in state.items():
        for pattern, replacement in rules:
            if match := re.fullmatch(pattern, key):
                renamed[match.expand(replacement)] = value
                break
        else:
            left_out.append(key)
    return renamed, left_out
