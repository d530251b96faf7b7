"""`Format`: one map between the names of another project's weights and ours, for both directions.

A format registers itself with `register_format`. Key templates are plain names with placeholders:
`{i}` and `{j}` stand for a number, `{wb}` for weight or bias, `{p}` for any one word, `{rest}` for
anything.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

State = dict[str, Tensor]
# (their key, our key), as templates with the same placeholders.
KeyMap = tuple[tuple[str, str], ...]
# (pattern, replacement) of regular expressions; the first match wins.
Rules = tuple[tuple[str, str], ...]

PLACEHOLDERS = {"i": r"\d+", "j": r"\d+", "wb": r"weight|bias", "p": r"\w+", "rest": r".+"}


def _keep(name: str, value: Tensor) -> Tensor:
    return value


def _keep_all(state: State) -> tuple[State, list[str]]:
    return state, []


@dataclass(frozen=True)
class Format:
    """How another project names its weights.

    Attributes:
        name: key of FORMATS.
        description: for messages.
        signature: pattern of a key that only this format has.
        keys: (their key, our key) of every weight that has a place here.
        not_with: pattern of a key that another format with the same signature has; None if there is
            none.
        value_in: (our key, their value) -> our value, where more than the name differs.
        value_out: (our key, our value) -> their value, the inverse of `value_in`.
        prepare: all their weights -> the same, merged or reduced where names alone do not decide, and
            the keys that were dropped.
        exported: the part of `keys` that an export writes; empty if the format is only read.
        export_name: `--to` of `mmmim convert`; default `name`.
        before_export: all our weights -> the same, ready for export.
        after_export: all their weights -> the same, with the buffers that their code expects.
    """

    name: str
    description: str
    signature: str
    keys: KeyMap
    not_with: str | None = None
    value_in: Callable[[str, Tensor], Tensor] = _keep
    value_out: Callable[[str, Tensor], Tensor] = _keep
    prepare: Callable[[State], tuple[State, list[str]]] = _keep_all
    exported: KeyMap = ()
    export_name: str = ""
    before_export: Callable[[State], State] = lambda state: state
    after_export: Callable[[State], State] = lambda state: state

    def fits(self, state: State) -> bool:
        """Whether these weights are of this format."""
        return _has_key(state, self.signature) and not (
            self.not_with and _has_key(state, self.not_with)
        )

    def read(self, state: State) -> tuple[State, list[str]]:
        """Their weights -> ours, and their keys that have no place here."""
        prepared, dropped = self.prepare(state)
        renamed, left_out = rename(prepared, self.rules)
        ours = {name: self.value_in(name, value) for name, value in renamed.items()}
        return ours, [*left_out, *dropped]

    def write(self, state: State) -> tuple[State, list[str]]:
        """Our weights -> theirs, and our keys that have no place there."""
        ours = {name: self.value_out(name, value) for name, value in self.before_export(state).items()}
        renamed, left_out = rename(ours, compile_keys(self._inverse))
        return self.after_export(renamed), left_out

    def can_write(self, state: State) -> bool:
        """Whether the format has names for the blocks of these weights of ours."""
        blocks = {k: v for k, v in state.items() if re.fullmatch(r"backbone\..*\.norm1\.weight", k)}
        return bool(blocks) and not rename(blocks, compile_keys(self._inverse))[1]

    @property
    def rules(self) -> Rules:
        """From their keys to ours, for `rename`."""
        return compile_keys(self.keys)

    @property
    def _inverse(self) -> KeyMap:
        return tuple((our_key, their_key) for their_key, our_key in self.exported)


FORMATS: dict[str, Format] = {}


def register_format(spec: Format) -> Format:
    """Make a format known to everything that reads or writes checkpoints.

    Raises:
        ValueError: a format of that name exists.
    """
    if spec.name in FORMATS:
        raise ValueError(f"a checkpoint format '{spec.name}' is registered already")
    FORMATS[spec.name] = spec
    return spec


def rename(state: State, rules: Rules) -> tuple[State, list[str]]:
    """The weights under the names that the rules give, and the keys that no rule matches."""
    renamed, left_out = {}, []
    for key, value in state.items():
        for pattern, replacement in rules:
            if match := re.fullmatch(pattern, key):
                renamed[match.expand(replacement)] = value
                break
        else:
            left_out.append(key)
    return renamed, left_out


@functools.cache
def compile_keys(keys: KeyMap) -> Rules:
    """Templates (from, to) -> regular expressions for `rename`."""
    return tuple((_to_pattern(source), _to_replacement(target)) for source, target in keys)


def _to_pattern(template: str) -> str:
    parts = re.split(r"\{(\w+)\}", template)
    named = (
        f"(?P<{part}>{PLACEHOLDERS[part]})" if i % 2 else re.escape(part)
        for i, part in enumerate(parts)
    )
    return "".join(named)


def _to_replacement(template: str) -> str:
    return re.sub(r"\{(\w+)\}", r"\\g<\1>", template)


def _has_key(state: State, pattern: str) -> bool:
    return any(re.fullmatch(pattern, key) for key in state)


def same(prefix: str, *names: str, theirs: str = "") -> KeyMap:
    """Keys that differ from ours in a prefix only: `theirs` + name -> `prefix` + name."""
    return tuple((theirs + name, prefix + name) for name in names)


# Layers of a transformer block: timm's names are ours, mmpretrain's differ.
BLOCK = ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
MMPRETRAIN_BLOCK = ("ln1", "ln2", "attn.qkv", "attn.proj", "ffn.layers.0.0", "ffn.layers.1")


def block_keys(theirs: str, ours: str, names: tuple[str, ...] = BLOCK) -> KeyMap:
    """The layers of a block: `theirs` and `ours` name the block, `names` their layers."""
    return tuple(
        (f"{theirs}.{their_layer}.{{wb}}", f"{ours}.{our_layer}.{{wb}}")
        for their_layer, our_layer in zip(names, BLOCK, strict=True)
    )


# The decoder of official MAE, ConvMAE and MixMIM.
MAE_DECODER: KeyMap = (
    ("mask_token", "decoder.mask_token"),
    ("decoder_pos_embed", "decoder.pos_embed"),
    *((f"decoder_{name}.{{p}}", f"decoder.{name}.{{p}}") for name in ("embed", "norm", "pred")),
    *block_keys("decoder_blocks.{i}", "decoder.blocks.{i}"),
)
# What fine-tuning on classes adds in MAE's code and its derivatives -> mmpretrain's classifier.
MAE_CLASSIFIER: KeyMap = (("fc_norm.{p}", "neck.norm.{p}"), ("head.{wb}", "head.fc.{wb}"))


def mmpretrain_decoder(norm: str) -> KeyMap:
    """The decoder in mmselfsup and mmpretrain; `norm` is its name of the last norm."""
    return (
        ("neck.mask_token", "decoder.mask_token"),
        ("neck.decoder_pos_embed", "decoder.pos_embed"),
        *((f"neck.decoder_{name}.{{p}}", f"decoder.{name}.{{p}}") for name in ("embed", "pred")),
        *block_keys("neck.decoder_blocks.{i}", "decoder.blocks.{i}", MMPRETRAIN_BLOCK),
        (f"neck.{norm}.{{p}}", "decoder.norm.{p}"),
    )


# mmpretrain calls it ln1, mmselfsup decoder_norm.
MMPRETRAIN_DECODER: KeyMap = (
    *mmpretrain_decoder("ln1"),
    ("neck.decoder_norm.{p}", "decoder.norm.{p}"),
)


def detectron2_heads(norm: str) -> KeyMap:
    """Mask R-CNN's heads of detectron2 -> mmdet's; `norm` is mmcv's name of their norm layers."""
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
    return tuple((f"{theirs}.{{p}}", f"{ours}.{{p}}") for theirs, ours in layers)
