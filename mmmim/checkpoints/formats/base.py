"""What the tables of names share."""

import re
from collections.abc import Callable
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
        values: our name and its value -> our value, where not the name alone differs.
        prepare: all of its weights -> the same, merged or left out where names alone do not tell, and
            what was left out.
    """

    description: str
    signature: str
    rules: Rules
    values: Callable[[str, Tensor], Tensor] = lambda name, value: value
    prepare: Callable[[dict[str, Tensor]], tuple[dict[str, Tensor], list[str]]] = lambda s: (s, [])


def rename(state: dict[str, Tensor], rules: Rules) -> tuple[dict[str, Tensor], list[str]]:
    """Weights under the names of the rules, and the keys that no rule matches."""
    renamed, left_out = {}, []
    for key, value in state.items():
        for pattern, replacement in rules:
            if match := re.fullmatch(pattern, key):
                renamed[match.expand(replacement)] = value
                break
        else:
            left_out.append(key)
    return renamed, left_out


# Inside a block, ours are timm's names.
BLOCK = r"(?:norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(?:weight|bias)"
# mmpretrain's name of a layer inside a block -> ours.
MMPRETRAIN_LAYERS = (
    (r"ln1", "norm1"),
    (r"ln2", "norm2"),
    (r"attn\.qkv", "attn.qkv"),
    (r"attn\.proj", "attn.proj"),
    (r"ffn\.layers\.0\.0", "mlp.fc1"),
    (r"ffn\.layers\.1", "mlp.fc2"),
)
# The decoder of official MAE, and so of ConvMAE and MixMIM.
MAE_DECODER = (
    (r"mask_token", r"decoder.mask_token"),
    (r"decoder_(pos_embed|embed\.\w+|norm\.\w+|pred\.\w+)", r"decoder.\1"),
    (rf"decoder_(blocks\.\d+\.{BLOCK})", r"decoder.\1"),
)
# What fine-tuning on classes adds in MAE's code and its kin -> mmpretrain's classifier.
MAE_CLASSIFIER = (
    (r"fc_norm\.(\w+)", r"neck.norm.\1"),
    (r"head\.(weight|bias)", r"head.fc.\1"),
)
MMPRETRAIN_DECODER = (
    (r"neck\.mask_token", r"decoder.mask_token"),
    (r"neck\.decoder_(pos_embed|embed\.\w+|pred\.\w+)", r"decoder.\1"),
    *(
        (rf"neck\.decoder_blocks\.(\d+)\.{theirs}\.(\w+)", rf"decoder.blocks.\1.{ours}.\2")
        for theirs, ours in MMPRETRAIN_LAYERS
    ),
    (r"neck\.(?:ln1|decoder_norm)\.(\w+)", r"decoder.norm.\1"),
)


def detectron2_heads(norm: str) -> Rules:
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
