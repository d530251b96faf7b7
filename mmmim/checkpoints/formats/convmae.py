"""ConvMAE weights of the official code: pretraining and fine-tuning, detection, segmentation."""

import re

from torch import Tensor

from mmmim.checkpoints.formats.base import (
    MAE_CLASSIFIER,
    MAE_DECODER,
    Format,
    KeyMap,
    block_keys,
    detectron2_heads,
    register_format,
)

# The 1x1 convolutions in convolutional blocks, which are linear maps here.
_POINTWISE = r"backbone\.blocks[12]\.\d+\.(conv[12]|mlp\.fc[12])\.weight"
_CONV_BLOCK = ("norm1", "norm2", "conv1", "conv2", "attn", "mlp.fc1", "mlp.fc2")


def _encoder(theirs: str) -> KeyMap:
    """The encoder, whose names are ours below the prefix `theirs`."""
    names = [
        "pos_embed",
        *(f"patch_embed{i}.{part}.{{wb}}" for i in (1, 2, 3) for part in ("proj", "norm")),
        "patch_embed4.{wb}",
        *(f"blocks{stage}.{{i}}.{layer}.{{wb}}" for stage in (1, 2) for layer in _CONV_BLOCK),
    ]
    return (
        *((theirs + name, f"backbone.{name}") for name in names),
        *block_keys(f"{theirs}blocks3.{{i}}", "backbone.blocks3.{i}"),
    )


def _to_linear(name: str, value: Tensor) -> Tensor:
    """(D, C, 1, 1) -> (D, C) for 1x1 convolutions."""
    return value.flatten(1) if value.ndim == 4 and re.fullmatch(_POINTWISE, name) else value


def _to_pointwise(name: str, value: Tensor) -> Tensor:
    """Inverse of `_to_linear`."""
    return value[:, :, None, None] if re.fullmatch(_POINTWISE, name) else value


CONVMAE = register_format(
    Format(
        "convmae",
        "official ConvMAE or FastConvMAE",
        signature=r"blocks1\.0\.norm1\.weight",
        keys=(
            *_encoder(""),
            ("stage{i}_output_decode.{wb}", "fusion.stage{i}.{wb}"),
            ("norm.{wb}", "fusion.norm.{wb}"),
            *MAE_DECODER,
            *MAE_CLASSIFIER,
        ),
        value_in=_to_linear,
        value_out=_to_pointwise,
        exported=_encoder(""),
    )
)
CONVMAE_FPN = register_format(
    Format(
        "convmae-fpn",
        "official ConvMAE, detection with an FPN",
        signature=r"backbone\.bottom_up\.blocks1\.0\.norm1\.weight",
        keys=(
            *_encoder("backbone.bottom_up."),
            *(
                (
                    f"backbone.bottom_up.{theirs}_rel_pos_bias.relative_position_bias_table",
                    f"backbone.{ours}_position.table",
                )
                for theirs, ours in (("windowed", "window"), ("global", "global"))
            ),
            *(
                (f"backbone.fpn_{theirs}{i + 2}.{part}{{p}}", f"neck.{ours}_convs.{i}.{name}.{{p}}")
                for theirs, ours in (("lateral", "lateral"), ("output", "fpn"))
                for i in range(4)
                for part, name in (("norm.", "bn"), ("", "conv"))
            ),
            *detectron2_heads("bn"),
        ),
        value_in=_to_linear,
    )
)
CONVMAE_VITDET = register_format(
    Format(
        "convmae-vitdet",
        "official ConvMAE, detection with a simple feature pyramid",
        signature=r"backbone\.net\.blocks1\.0\.norm1\.weight",
        keys=(
            *_encoder("backbone.net."),
            *(
                (
                    f"backbone.net.blocks3.{{i}}.attn.rel_pos_{axis}",
                    f"backbone.blocks3.{{i}}.attn.relative_position.rel_pos_{axis}",
                )
                for axis in "hw"
            ),
            ("backbone.simfp_{i}.{rest}", "neck.simfp_{i}.{rest}"),
            *detectron2_heads("ln"),
        ),
        value_in=_to_linear,
    )
)
CONVMAE_UPERNET = register_format(
    Format(
        "convmae-upernet",
        "official ConvMAE, segmentation",
        signature=r"backbone\.fpn\.0\.weight",
        keys=(
            *_encoder("backbone."),
            ("backbone.blocks3.{i}.gamma_{j}", "backbone.blocks3.{i}.ls{j}.gamma"),
            (
                "backbone.blocks3.{i}.attn.relative_position_bias_table",
                "backbone.blocks3.{i}.attn.relative_position.table",
            ),
            ("backbone.fpn.0.{p}", "neck.halve.conv.{p}"),
            ("backbone.fpn.1.{p}", "neck.halve.bn.{p}"),
            ("decode_head.{rest}", "decode_head.{rest}"),
            ("auxiliary_head.{rest}", "auxiliary_head.{rest}"),
        ),
        value_in=_to_linear,
    )
)
