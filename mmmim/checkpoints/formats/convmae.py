"""ConvMAE's weights in the official code: pretraining and fine-tuning, detection, segmentation."""

import re

from torch import Tensor

from mmmim.checkpoints.formats.common import (
    BLOCK,
    MAE_CLASSIFIER,
    MAE_DECODER,
    Format,
    detectron2_heads,
    rename,
)

# ConvMAE's encoder, whose names are ours.
_CONV_VIT = (
    r"(pos_embed|patch_embed[123]\.(?:proj|norm)\.\w+|patch_embed4\.\w+"
    r"|blocks[12]\.\d+\.(?:norm[12]|conv[12]|attn|mlp\.fc[12])\.(?:weight|bias)"
    rf"|blocks3\.\d+\.{BLOCK})"
)
# The 1x1 convolutions of its convolutional blocks, which are linear maps here.
_POINTWISE = r"backbone\.blocks[12]\.\d+\.(conv[12]|mlp\.fc[12])\.weight"


def _linear_of_pointwise(name: str, value: Tensor) -> Tensor:
    """ConvMAE's 1x1 convolutions are linear maps here."""
    return value.flatten(1) if value.ndim == 4 and re.fullmatch(_POINTWISE, name) else value


CONVMAE = Format(
    "official ConvMAE or FastConvMAE",
    r"blocks1\.0\.norm1\.weight",
    (
        (_CONV_VIT, r"backbone.\1"),
        (r"stage([12])_output_decode\.(\w+)", r"fusion.stage\1.\2"),
        (r"norm\.(\w+)", r"fusion.norm.\1"),
        *MAE_DECODER,
        *MAE_CLASSIFIER,
    ),
    _linear_of_pointwise,
)
CONVMAE_FPN = Format(
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
        *detectron2_heads("bn"),
    ),
    _linear_of_pointwise,
)
CONVMAE_VITDET = Format(
    "official ConvMAE, detection with a simple feature pyramid",
    r"backbone\.net\.blocks1\.0\.norm1\.weight",
    (
        (rf"backbone\.net\.{_CONV_VIT}", r"backbone.\1"),
        (
            r"backbone\.net\.(blocks3\.\d+\.attn)\.(rel_pos_[hw])",
            r"backbone.\1.relative_position.\2",
        ),
        (r"backbone\.simfp_(\d)\.(.*)", r"neck.simfp_\1.\2"),
        *detectron2_heads("ln"),
    ),
    _linear_of_pointwise,
)
CONVMAE_UPERNET = Format(
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
)


def to_convmae(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """A `ConvViT` of ours under the official names, and what the official encoder cannot hold."""
    convolutions = {
        name: value[:, :, None, None] if re.fullmatch(_POINTWISE, name) else value
        for name, value in state.items()
    }
    return rename(convolutions, ((rf"backbone\.{_CONV_VIT}", r"\1"),))
