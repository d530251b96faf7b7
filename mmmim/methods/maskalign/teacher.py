"""The frozen teacher whose hidden states are the target of MaskAlign (arXiv 2211.08887)."""

import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmim.checkpoints.io import file_sha256, read_checkpoint
from mmmim.layers.tokens import gather_tokens
from mmmim.methods.base import IMAGENET_MEAN, IMAGENET_STD
from mmmim.methods.maskalign.teacher_blocks import LastBlock, embed
from mmmim.methods.maskalign.teacher_weights import create_teacher, load_teacher

PACKAGE = Path(__file__).parents[2]
WHITEN_EPS = 1e-5  # models_pretrain.py:320 uses torch's default
BN_EPS = 1e-6  # models_pretrain.py:322


class Teacher(nn.Module):
    """A timm vision transformer with weights from a file. It has no gradients and is in no checkpoint.

    The weights are read on first use, when training starts; a model can be built without the file.

    Args:
        name: timm's model name; a tag ("model.tag") selects the normalization of the input.
        checkpoint: weights of timm, OpenAI's or Hugging Face's CLIP, DINO, DINOv2, DINOv3, SigLIP,
            mmpretrain's `TimmClassifier`, or an official MaskAlign file with the teacher inside.
        layer_weights: loss weight of each layer, counted from 0: "topK" (equal over the last K),
            "mean", "out" (the last), "linear_decay" (proportional to the index) or "midK" (layer K).
        norm: of the target: "none", "l2" (unit length), "whiten" (mean 0 and variance 1 per token) or
            "bn" (over all tokens of the batch).
        attentive: whether `TeacherStates.importance` will be called.
        img_size: side of the input in pixels. Images are resized to it, bicubic, and so are the
            positions. Default: timm's.
        mean, std: that the input is normalized with, in 0..1. Default: timm's.
        images_mean, images_std: that the given images are normalized with, in 0..255.
        model_args: further arguments of `timm.create_model`.

    Attributes:
        embed_dims, depth, grid_size, with_cls_token: of the model.
        layer_weights: {layer: weight} of the layers in the loss; the weights sum to 1.

    Raises:
        ValueError: an unknown name, norm or weighting; a model of another structure.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        name: str,
        checkpoint: str | None = None,
        layer_weights: str = "mean",
        norm: str = "whiten",
        attentive: bool = True,
        img_size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        images_mean: Sequence[float] = IMAGENET_MEAN,
        images_std: Sequence[float] = IMAGENET_STD,
        model_args: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if norm not in ("none", "l2", "whiten", "bn"):
            raise ValueError(f"target_norm must be 'none', 'l2', 'whiten' or 'bn', got '{norm}'")
        self.name, self.checkpoint, self.norm = name, checkpoint, norm
        self._source = _how_to_get(name, checkpoint or "teacher.pth", bool(model_args))
        model: Any = create_teacher(name, img_size, model_args or {})
        # In a list it is no submodule: not saved, not initialized, not trained, not wrapped.
        self._model = [model]
        self.embed_dims, self.depth = model.embed_dim, len(model.blocks)
        self.img_size, self.grid_size = model.patch_embed.img_size, tuple(model.patch_embed.grid_size)
        self.with_cls_token = model.cls_token is not None
        self.layer_weights = get_layer_weights(layer_weights, self.depth)
        self.needs_last_block = attentive or self.depth - 1 in self.layer_weights

        own_mean, own_std = (
            _per_channel(own or model.pretrained_cfg[key])
            for own, key in ((mean, "mean"), (std, "std"))
        )
        shown_mean, shown_std = _per_channel(images_mean), _per_channel(images_std)
        # One affine map instead of undoing one normalization and applying another.
        self.register_buffer("scale", (shown_std / 255 / own_std).float(), persistent=False)
        shift = (shown_mean / 255 - own_mean) / own_std
        self.register_buffer("shift", shift.float(), persistent=False)
        self.sha256: str | None = None  # of the file, after it was read

    @property
    def model(self) -> Any:
        """The timm model, in evaluation mode, without gradients."""
        return self._model[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Teacher":
        self.model._apply(fn)  # moves the model together with this module
        return super()._apply(fn, recurse)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Teacher":
        """Share the frozen model: an averaged copy of a method needs no second teacher."""
        copy = Teacher.__new__(Teacher)
        memo[id(self)] = copy
        copy.__dict__ = {k: v if k == "_model" else deepcopy(v, memo) for k, v in self.__dict__.items()}
        return copy

    def load(self) -> None:
        """Read the weights, unless they were read before.

        Raises:
            FileNotFoundError: no such file; the message says how to get it.
            ValueError: the file holds another model.
        """
        if self.sha256:
            return
        path = Path(self.checkpoint or "")
        if not path.is_file():
            path = PACKAGE.parent / path  # the tiny teacher is in the package
        if not path.is_file():
            problem = f"no file '{self.checkpoint}'" if self.checkpoint else "no checkpoint is set"
            raise FileNotFoundError(
                f"the teacher '{self.name}' needs its weights: {problem}. {self._source} "
                "Set another path with TEACHER=PATH, or --cfg-options model.teacher.checkpoint=PATH"
            )
        load_teacher(self.model, read_checkpoint(path), self.name, path)
        self.sha256 = file_sha256(path)

    def identity(self) -> dict[str, str]:
        """Name of the model and sha256 of its file."""
        self.load()
        return dict(name=self.name, sha256=str(self.sha256))

    @torch.no_grad()
    def forward(self, images: Tensor) -> "TeacherStates":
        """Run on (B, 3, H, W) normalized images, up to the last block that is needed."""
        self.load()
        if images.shape[-2:] != self.img_size:
            images = F.interpolate(images, self.img_size, mode="bicubic", align_corners=False)
        model = self.model
        if model.patch_embed.proj.weight.device != images.device:
            model.to(images.device)  # FSDP does not move it, since it is no submodule
        tokens, extras = embed(model, images * self.scale + self.shift)
        kept: dict[int, Tensor] = {}
        stop = self.depth - 1 if self.needs_last_block else max(self.layer_weights) + 1
        for i in range(stop):
            tokens = model.blocks[i](tokens, **extras[i])
            if i in self.layer_weights:
                kept[i] = tokens
        last = None
        if self.needs_last_block:
            last = LastBlock(model.blocks[-1], tokens, model.num_prefix_tokens, **extras[-1])
        return TeacherStates(self, len(images), kept, last)


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1)


class TeacherStates:
    """The hidden states of a batch. The last block computes the tokens that are read, on demand."""

    def __init__(
        self, teacher: Teacher, batch: int, kept: dict[int, Tensor], last: LastBlock | None
    ) -> None:
        self.teacher, self.kept, self.last = teacher, kept, last
        self.prefix = teacher.model.num_prefix_tokens
        self.with_cls_token = teacher.with_cls_token
        self.num_patches = teacher.grid_size[0] * teacher.grid_size[1]
        self.batch = batch

    def importance(self) -> Tensor:
        """Attention of the last block to each patch, mean over heads: (B, L) float32.

        From the class token; in a teacher without class token, from the mean query of all patches.
        """
        assert self.last is not None, "a teacher of attentive masking keeps its last block"
        with torch.no_grad():  # torch.compile cannot trace the decorator here
            return self.last.class_attention() if self.with_cls_token else self.last.mean_attention()

    def targets(self, patches: Tensor) -> list[Tensor]:
        """Normalized hidden states at patches (B, V): float32 (B, [1 +] V, D) per layer in the loss.

        The class token is first, if the teacher has one.
        """
        index = patches + self.prefix
        if self.with_cls_token:
            index = F.pad(index, (1, 0))
        with torch.no_grad():
            return [self._target(layer, index) for layer in self.teacher.layer_weights]

    def _target(self, layer: int, index: Tensor) -> Tensor:
        if self.teacher.norm == "bn":
            return self._batch_normalized(layer, index)
        if layer in self.kept:
            tokens = gather_tokens(self.kept[layer], index).float()
        else:
            tokens = self._last_output(index)
        if self.teacher.norm == "l2":
            return F.normalize(tokens, dim=-1)
        if self.teacher.norm == "whiten":
            return F.layer_norm(tokens, tokens.shape[-1:], eps=WHITEN_EPS)
        return tokens

    def _last_output(self, index: Tensor) -> Tensor:
        assert self.last is not None, "a teacher whose last layer is in the loss keeps its last block"
        return self.last.output(index).float()

    def _batch_normalized(self, layer: int, index: Tensor) -> Tensor:
        """Normalize with one mean and one variance over all tokens (models_pretrain.py:322)."""
        if layer in self.kept:
            tokens = self.kept[layer]
        else:
            every = torch.arange(self.prefix + self.num_patches, device=index.device)
            tokens = self._last_output(every.expand(len(index), -1))
        tokens = tokens.float()
        return gather_tokens((tokens - tokens.mean()) / (tokens.var() + BN_EPS).sqrt(), index)


def _how_to_get(name: str, checkpoint: str, own: bool) -> str:
    if own:
        return (
            "It has no released weights: the docstring of the config that trains it says how to make "
            "them (configs/tiny/teacher_scenes.py for the tiny recipes)."
        )
    get = f"torch.save(timm.create_model('{name}', pretrained=True).state_dict(), '{checkpoint}')"
    return (
        f'Get them once: mkdir -p {Path(checkpoint).parent} && python -c "import timm, torch; {get}", '
        "or use the file that OpenAI or Hugging Face released (docs/maskalign.md)."
    )


def get_layer_weights(kind: str, depth: int) -> dict[int, float]:
    """Nonzero loss weights of `depth` layers (models_pretrain.py:337-349).

    Raises:
        ValueError: an unknown `kind`, or a layer that does not exist.
    """
    match = re.fullmatch(r"(top|mid)(\d+)", kind)
    name, number = (match[1], int(match[2])) if match else (kind, 0)
    if kind == "mean":
        return dict.fromkeys(range(depth), 1 / depth)
    if kind == "out":
        return {depth - 1: 1.0}
    if kind == "linear_decay":
        return {i: i / sum(range(depth)) for i in range(1, depth)}
    if name == "top" and 0 < number <= depth:
        return dict.fromkeys(range(depth - number, depth), 1 / number)
    if name == "mid" and match and number < depth:
        return {number: 1.0}
    raise ValueError(
        f"layer_weights must be 'top1' to 'top{depth}', 'mid0' to 'mid{depth - 1}', 'mean', 'out' or "
        f"'linear_decay' for a teacher of {depth} layers, got '{kind}'"
    )
