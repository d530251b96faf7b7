"""Who wrote these weights, and what are they called here?

Every format is a table of (pattern, replacement); a key that no pattern matches has no place in a
pretraining method or backbone (a classifier head, say) and is left out, by name.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from mmmim.layers.relative_positions import offset_index

Rules = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Format:
    """A naming of weights.

    Attributes:
        description: for messages.
        signature: a key that only this format has, as a pattern.
        rules: (pattern, replacement) from its names to ours; the first match wins.
        values: our name and its value -> our value, where not the name alone differs.
    """

    description: str
    signature: str
    rules: Rules
    values: Callable[[str, Tensor], Tensor] = lambda name, value: value


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
# MixMIM's encoder outside its attention, whose names are ours.
_MIXMIM = (
    r"(absolute_pos_embed|patch_embed\.(?:proj|norm)\.\w+|norm\.\w+"
    rf"|layers\.\d\.blocks\.\d+\.{_BLOCK}|layers\.\d\.downsample\.(?:norm|reduction)\.\w+)"
)
# mmpretrain's name of a layer inside a block -> ours.
_MMPRETRAIN_LAYERS = (
    (r"ln1", "norm1"),
    (r"ln2", "norm2"),
    (r"attn\.qkv", "attn.qkv"),
    (r"attn\.proj", "attn.proj"),
    (r"ffn\.layers\.0\.0", "mlp.fc1"),
    (r"ffn\.layers\.1", "mlp.fc2"),
)
_PLAIN_MMPRETRAIN_LAYERS = tuple((t.replace("\\", ""), o) for t, o in _MMPRETRAIN_LAYERS)
# The decoder of official MAE, and so of ConvMAE and MixMIM.
_MAE_DECODER = (
    (r"mask_token", r"decoder.mask_token"),
    (r"decoder_(pos_embed|embed\.\w+|norm\.\w+|pred\.\w+)", r"decoder.\1"),
    (rf"decoder_(blocks\.\d+\.{_BLOCK})", r"decoder.\1"),
)
_MMPRETRAIN_DECODER = (
    (r"neck\.mask_token", r"decoder.mask_token"),
    (r"neck\.decoder_(pos_embed|embed\.\w+|pred\.\w+)", r"decoder.\1"),
    *(
        (rf"neck\.decoder_blocks\.(\d+)\.{theirs}\.(\w+)", rf"decoder.blocks.\1.{ours}.\2")
        for theirs, ours in _MMPRETRAIN_LAYERS
    ),
    (r"neck\.(?:ln1|decoder_norm)\.(\w+)", r"decoder.norm.\1"),
)


def _linear_of_pointwise(name: str, value: Tensor) -> Tensor:
    """ConvMAE's 1x1 convolutions are linear maps here."""
    return value.flatten(1) if value.ndim == 4 and re.fullmatch(_POINTWISE, name) else value


def _timm_order_of_mmcv(name: str, value: Tensor) -> Tensor:
    """Patch merging: mmcv unfolds a square channel by channel, timm column by column of tokens."""
    if not re.fullmatch(r"backbone\.layers\.\d\.downsample\.(norm|reduction)\.\w+", name):
        return value
    return value.unflatten(-1, (-1, 2, 2)).movedim((-1, -2, -3), (-3, -2, -1)).flatten(-3)


def _mmcv_order_of_timm(name: str, value: Tensor) -> Tensor:
    """Undoes `_timm_order_of_mmcv`."""
    if not re.fullmatch(r"backbone\.layers\.\d\.downsample\.(norm|reduction)\.\w+", name):
        return value
    return value.unflatten(-1, (2, 2, -1)).movedim((-3, -2, -1), (-1, -2, -3)).flatten(-3)


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
        _linear_of_pointwise,
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
        _linear_of_pointwise,
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
        _linear_of_pointwise,
    ),
    "convmae": Format(
        "official ConvMAE or FastConvMAE",
        r"blocks1\.0\.norm1\.weight",
        (
            (_CONV_VIT, r"backbone.\1"),
            (r"stage([12])_output_decode\.(\w+)", r"fusion.stage\1.\2"),
            (r"norm\.(\w+)", r"fusion.norm.\1"),
            *_MAE_DECODER,
        ),
        _linear_of_pointwise,
    ),
    "mmpretrain-mixmim": Format(
        "mmpretrain's MixMIM",
        r"backbone\.layers\.0\.blocks\.0\.ln1\.weight",
        (
            (r"backbone\.(absolute_pos_embed|norm\.\w+|patch_embed\.norm\.\w+)", r"backbone.\1"),
            (r"backbone\.patch_embed\.projection\.(\w+)", r"backbone.patch_embed.proj.\1"),
            (r"backbone\.(layers\.\d\.downsample\.(?:norm|reduction)\.\w+)", r"backbone.\1"),
            (
                r"backbone\.(layers\.\d\.blocks\.\d+\.attn)\.relative_position_bias_table",
                r"backbone.\1.relative_position.table",
            ),
            *(
                (rf"backbone\.(layers\.\d\.blocks\.\d+)\.{theirs}\.(\w+)", rf"backbone.\1.{ours}.\2")
                for theirs, ours in _MMPRETRAIN_LAYERS
            ),
            *_MMPRETRAIN_DECODER,
        ),
        _timm_order_of_mmcv,
    ),
    "mixmim": Format(
        "official MixMIM",
        r"absolute_pos_embed",
        (
            (_MIXMIM, r"backbone.\1"),
            (
                r"(layers\.\d\.blocks\.\d+\.attn)\.relative_position_bias_table",
                r"backbone.\1.relative_position.table",
            ),
            *_MAE_DECODER,
        ),
    ),
    "mmmim": Format(
        "this project's",
        r"backbone\.(?:blocks3?|layers\.0\.blocks)\.0\.norm1\.weight",
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
            *_MMPRETRAIN_DECODER,
        ),
    ),
    "mae": Format(
        "official MAE or timm",
        r"blocks\.0\.norm1\.weight",
        (
            (r"(cls_token|pos_embed|patch_embed\.proj\.\w+|norm\.\w+)", r"backbone.\1"),
            (rf"(blocks\.\d+\.(?:{_BLOCK}|ls[12]\.gamma))", r"backbone.\1"),
            *_MAE_DECODER,
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
    spec = FORMATS[recognise(state)]
    renamed, left_out = _rename(state, spec.rules)
    return {name: spec.values(name, value) for name, value in renamed.items()}, left_out


def to_convmae(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """A `ConvViT` of ours under the official names, and what the official encoder cannot hold."""
    convolutions = {
        name: value[:, :, None, None] if re.fullmatch(_POINTWISE, name) else value
        for name, value in state.items()
    }
    return _rename(convolutions, ((rf"backbone\.{_CONV_VIT}", r"\1"),))


def to_mixmim(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """A `MixMIM` or its backbone under the official names, with the buffers that their code keeps."""
    renamed, left_out = _rename(
        state,
        (
            (rf"backbone\.{_MIXMIM}", r"\1"),
            (r"backbone\.(.*\.attn)\.relative_position\.table", r"\1.relative_position_bias_table"),
            (r"decoder\.mask_token", r"mask_token"),
            (r"decoder\.(.*)", r"decoder_\1"),
        ),
    )
    return _with_window_indices(renamed), left_out


def to_mmpretrain_mixmim(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """A `MixMIM` or its backbone as mmpretrain's."""
    reordered = {name: _mmcv_order_of_timm(name, value) for name, value in state.items()}
    renamed, left_out = _rename(
        reordered,
        (
            (r"backbone\.patch_embed\.proj\.(\w+)", r"backbone.patch_embed.projection.\1"),
            (r"(backbone\..*\.attn)\.relative_position\.table", r"\1.relative_position_bias_table"),
            *(
                (rf"(backbone\.layers\.\d\.blocks\.\d+)\.{re.escape(ours)}\.(\w+)", rf"\1.{theirs}.\2")
                for theirs, ours in _PLAIN_MMPRETRAIN_LAYERS
            ),
            (r"(backbone\.(?:absolute_pos_embed|norm\.\w+|patch_embed\.norm\.\w+))", r"\1"),
            (r"(backbone\.layers\.\d\.downsample\..*)", r"\1"),
            (r"decoder\.mask_token", r"neck.mask_token"),
            *(
                (rf"decoder\.(blocks\.\d+)\.{re.escape(ours)}\.(\w+)", rf"neck.decoder_\1.{theirs}.\2")
                for theirs, ours in _PLAIN_MMPRETRAIN_LAYERS
            ),
            (r"decoder\.norm\.(\w+)", r"neck.ln1.\1"),
            (r"decoder\.(pos_embed|embed\.\w+|pred\.\w+)", r"neck.decoder_\1"),
        ),
    )
    return _with_window_indices(renamed), left_out


def _with_window_indices(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Swin's code keeps which entry of a table belongs to which pair of tokens as a buffer."""
    end = "relative_position_bias_table"
    for name in [n for n in state if n.endswith(end)]:
        side = (round(len(state[name]) ** 0.5) + 1) // 2
        index = offset_index((side, side), (side, side), state[name].device)[1:, 1:]
        state[name.replace(end, "relative_position_index")] = index
    return state


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
