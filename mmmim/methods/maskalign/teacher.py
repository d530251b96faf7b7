"""A frozen vision transformer whose hidden states are the target (MaskAlign, arXiv 2211.08887)."""

import re
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmim.checkpoints.files import file_sha256, read_checkpoint
from mmmim.checkpoints.formats.teachers import to_timm_teacher
from mmmim.layers.tokens import gather_tokens
from mmmim.targets.timm_vit import LastBlock, check_structure, embed

# ImageNet's, which OpenMMLab's preprocessors hold in the scale of 0..255.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
WHITEN_EPS = 1e-5  # torch's default, which models_pretrain.py:320 takes
BN_EPS = 1e-6  # models_pretrain.py:322
# Beginnings of the names of timm's weights that are not run, and of some that are.
NOT_RUN = ("norm.", "fc_norm.", "attn_pool.", "head")
RUN = ("cls_token", "reg_token", "pos_embed", "patch_embed.", "norm_pre.", "blocks.")


class Teacher(nn.Module):
    """A vision transformer of timm's with weights from a file: no gradient, no place in checkpoints.

    The weights are read when they are first needed, which is when training starts; a model is built
    without the file.

    Args:
        name: timm's name of the model; a tag ("model.tag") chooses the normalisation of its input.
        checkpoint: its weights: timm's, OpenAI's and Hugging Face's CLIP, DINO, DINOv2, DINOv3, SigLIP,
            mmpretrain's `TimmClassifier`, or official MaskAlign with the teacher inside.
        layer_weights: what a layer counts: "topK" (the last K alike), "mean", "out" (the last),
            "linear_decay" (layer i counts i) or "midK" (layer K alone), layers from 0.
        norm: of a target: "none", "l2" (unit length), "whiten" (each token to mean 0 and variance 1)
            or "bn" (all tokens of the batch together).
        attentive: whether `TeacherStates.importance` will be asked for.
        img_size: side of its input in pixels, to which images are resized, bicubic, and its positions
            with them; timm's own where left out.
        mean, std: of its input, in 0..1; timm's own where left out.
        images_mean, images_std: that the images given to it were normalised by, in 0..255.
        model_args: further arguments of `timm.create_model`.

    Attributes:
        embed_dims, depth, grid, with_cls_token: of the model.
        layer_weights: {layer: what it counts}, of those that count; they sum to 1.

    Raises:
        ValueError: an unknown name, norm or weighting, a model of another structure.
    """

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
        model_args: dict | None = None,
    ) -> None:
        super().__init__()
        if norm not in ("none", "l2", "whiten", "bn"):
            raise ValueError(f"target_norm must be 'none', 'l2', 'whiten' or 'bn', got '{norm}'")
        self.name, self.checkpoint, self.norm = name, checkpoint, norm
        self._source = (
            "It is no released model: the first lines of the config say how it is made."
            if model_args
            else 'Get them once: python -c "import timm, torch; torch.save(timm.create_model('
            f"'{name}', pretrained=True).state_dict(), '{checkpoint or 'teacher.pth'}')\", or take the "
            "file that OpenAI or Hugging Face released (docs/maskalign.md)."
        )
        model = _create(name, img_size, model_args or {})
        # In a list, it is no submodule: not saved, not initialised, not trained, not wrapped.
        self._model = [model]
        self.embed_dims, self.depth = model.embed_dim, len(model.blocks)
        self.img_size, self.grid = model.patch_embed.img_size, tuple(model.patch_embed.grid_size)
        self.with_cls_token = model.cls_token is not None
        self.layer_weights = weigh_layers(layer_weights, self.depth)
        self.needs_last_block = attentive or self.depth - 1 in self.layer_weights

        own_mean, own_std = mean or model.pretrained_cfg["mean"], std or model.pretrained_cfg["std"]
        statistics = (images_mean, images_std, own_mean, own_std)
        mean, std, own_mean, own_std = (
            torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in statistics
        )
        self.register_buffer("scale", (std / 255 / own_std).float(), persistent=False)
        shift = (mean / 255 - own_mean) / own_std
        self.register_buffer("shift", shift.float(), persistent=False)
        self.sha256: str | None = None  # of the file, once it is read

    @property
    def model(self) -> nn.Module:
        """timm's, in evaluation mode, without gradients."""
        return self._model[0]

    def _apply(self, fn, recurse: bool = True):
        self.model._apply(fn)  # so that it follows to the GPU
        return super()._apply(fn, recurse)

    def __deepcopy__(self, memo: dict) -> "Teacher":
        """Shares the frozen model: an averaged copy of a method needs no second teacher."""
        copy = Teacher.__new__(Teacher)
        memo[id(self)] = copy
        copy.__dict__ = {k: v if k == "_model" else deepcopy(v, memo) for k, v in self.__dict__.items()}
        return copy

    def load(self) -> None:
        """Read the weights, unless they are read already.

        Raises:
            FileNotFoundError: there is no such file; says how to get one.
            ValueError: the file holds another model.
        """
        if self.sha256:
            return
        path = Path(self.checkpoint or "")
        if not path.is_file():
            lack = f"there is no file '{self.checkpoint}'" if self.checkpoint else "no file is named"
            raise FileNotFoundError(
                f"the teacher '{self.name}' needs its weights, and {lack}. {self._source} "
                "Name another place with --cfg-options model.teacher.checkpoint=PATH"
            )
        _load(self.model, read_checkpoint(path), self.name, path)
        self.sha256 = file_sha256(path)

    def identity(self) -> dict[str, str]:
        """Name of the model, and sha256 of its file."""
        self.load()
        return dict(name=self.name, sha256=self.sha256)

    @torch.no_grad()
    def forward(self, images: Tensor) -> "TeacherStates":
        """Run on (B, 3, H, W) normalised images, up to the last block that something is read from."""
        self.load()
        if images.shape[-2:] != self.img_size:
            images = F.interpolate(images, self.img_size, mode="bicubic", align_corners=False)
        model = self.model
        if model.patch_embed.proj.weight.device != images.device:
            model.to(images.device)  # FSDP moves what it knows, and the teacher is not among it
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


class TeacherStates:
    """What a teacher makes of a batch. The last block's tokens are computed when they are asked for."""

    def __init__(
        self, teacher: Teacher, batch: int, kept: dict[int, Tensor], last: LastBlock | None
    ) -> None:
        self.teacher, self.kept, self.last = teacher, kept, last
        self.prefix = teacher.model.num_prefix_tokens
        self.with_cls_token = teacher.with_cls_token
        self.batch = batch

    def importance(self) -> Tensor:
        """How much of the last block's attention each patch gets: (B, L) float32.

        The class token's, mean over heads. A teacher without class token has no such row: there it is
        the row of the mean of all patches' queries.
        """
        with torch.no_grad():  # not a decorator, which torch.compile cannot follow here
            return self.last.class_attention() if self.with_cls_token else self.last.mean_attention()

    def targets(self, patches: Tensor) -> list[Tensor]:
        """Normalised hidden states of patches (B, V): float32 (B, [1 +] V, D) of each layer.

        The class token goes first, where the teacher has one.
        """
        index = patches + self.prefix
        if self.with_cls_token:
            index = F.pad(index, (1, 0))
        with torch.no_grad():
            return [self._target(layer, index) for layer in self.teacher.layer_weights]

    def _target(self, layer: int, index: Tensor) -> Tensor:
        if self.teacher.norm == "bn":
            return self._batch_normalised(layer, index)
        is_last = layer not in self.kept
        tokens = self.last.output(index) if is_last else gather_tokens(self.kept[layer], index)
        tokens = tokens.float()
        if self.teacher.norm == "l2":
            return F.normalize(tokens, dim=-1)
        if self.teacher.norm == "whiten":
            return F.layer_norm(tokens, tokens.shape[-1:], eps=WHITEN_EPS)
        return tokens

    def _batch_normalised(self, layer: int, index: Tensor) -> Tensor:
        """By one mean and one variance of all tokens (models_pretrain.py:322)."""
        if layer in self.kept:
            tokens = self.kept[layer]
        else:
            length = self.last.tokens.shape[1]
            tokens = self.last.output(torch.arange(length, device=index.device).expand(len(index), -1))
        tokens = tokens.float()
        return gather_tokens((tokens - tokens.mean()) / (tokens.var() + BN_EPS).sqrt(), index)


def weigh_layers(kind: str, depth: int) -> dict[int, float]:
    """What each of `depth` layers counts, zeros left out (models_pretrain.py:337-349).

    Raises:
        ValueError: another `kind`, or a layer that is not there.
    """
    name, number = re.fullmatch(r"(top|mid)(\d+)|.*", kind).groups()
    if kind == "mean":
        return dict.fromkeys(range(depth), 1 / depth)
    if kind == "out":
        return {depth - 1: 1.0}
    if kind == "linear_decay":
        return {i: i / sum(range(depth)) for i in range(1, depth)}
    if name == "top" and 0 < int(number) <= depth:
        return dict.fromkeys(range(depth - int(number), depth), 1 / int(number))
    if name == "mid" and int(number) < depth:
        return {int(number): 1.0}
    raise ValueError(
        f"layer_weights must be 'top1' to 'top{depth}', 'mid0' to 'mid{depth - 1}', 'mean', 'out' or "
        f"'linear_decay' for a teacher of {depth} layers, got '{kind}'"
    )


def _create(name: str, img_size: int | None, model_args: dict) -> nn.Module:
    import timm

    arguments = dict(model_args) if img_size is None else dict(model_args, img_size=img_size)
    try:
        model = timm.create_model(name, pretrained=False, num_classes=0, **arguments)
    except RuntimeError as error:  # timm's for an unknown name
        known = ", ".join(timm.list_models(f"*{name.split('.')[0][:12]}*")[:8]) or "timm.list_models()"
        raise ValueError(f"timm has no teacher '{name}' ({error}); it has {known}") from error
    check_structure(model)
    return model.eval().requires_grad_(False)


def _load(model: nn.Module, state: dict[str, Tensor], name: str, path: Path) -> None:
    """Give `model` the weights that it runs with; its pooling and heads are not run."""
    from timm.models.eva import Eva
    from timm.models.eva import checkpoint_filter_fn as to_eva
    from timm.models.vision_transformer import checkpoint_filter_fn as to_vit

    to_timm = to_eva if isinstance(model, Eva) else to_vit
    needed = {k for k in model.state_dict() if not k.startswith(NOT_RUN)}
    # OpenAI's are in half precision, in which positions are not to be resized.
    state = {k: v.float() for k, v in to_timm_teacher(state).items()}
    try:
        _check_before_timm(state, model)
        # Positions are resized bicubic without antialiasing (models_pretrain.py:24-30); DINOv2 has it
        # in the models with registers (facebookresearch/dinov2 dinov2/hub/backbones.py).
        antialias = model.reg_token is not None
        given = to_timm(state, model, antialias=antialias)
        weights = {k: v for k, v in given.items() if k in needed or k.startswith(RUN)}
        biases = (k for k, v in weights.items() if k not in needed and k.endswith("bias"))
        for key in [k for k in biases if not weights[k].any()]:
            del weights[key]  # DINOv3's are all zero, and timm has a model without them
        missing, unexpected = sorted(needed - weights.keys()), sorted(weights.keys() - needed)
        if missing or unexpected:
            raise ValueError(f"missing {missing[:3]}, unexpected {unexpected[:3]}")
        model.load_state_dict(weights, strict=False)
    except (KeyError, RuntimeError, ValueError, AssertionError) as error:
        raise ValueError(
            f"'{path}' does not hold the weights of the teacher '{name}': {error}. Give the file of "
            "this model, or name the file's model in model.teacher.name"
        ) from error


def _check_before_timm(state: dict[str, Tensor], model: nn.Module) -> None:
    """What timm would make fit, or drop, without a word.

    Raises:
        ValueError: patches of another size; biases that the model does not have.
    """
    size = model.patch_embed.patch_size
    for key, value in state.items():
        is_patches = key.endswith(("patch_embed.proj.weight", "visual.conv1.weight"))
        if is_patches and value.ndim == 4 and tuple(value.shape[2:]) != tuple(size):
            raise ValueError(f"{key} is of {value.shape[2]}-pixel patches, the model's have {size[0]}")
        if key.endswith("attn.qkv.bias") and value.any() and not _has_biases(model):
            raise ValueError(f"{key} is not zero, and the model has no such bias (timm's '*_qkvb' has)")


def _has_biases(model: nn.Module) -> bool:
    attention = model.blocks[0].attn
    layer = attention.qkv if attention.qkv is not None else attention.q_proj
    return layer.bias is not None or getattr(attention, "q_bias", None) is not None
