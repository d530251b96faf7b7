"""Creating a teacher with timm, and loading its weights completely."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mmmim.methods.maskalign.teacher_blocks import check_structure
from mmmim.methods.maskalign.teacher_formats import to_timm_teacher

# Prefixes of timm's weights that a teacher does not use, and of those that it does.
UNUSED = ("norm.", "fc_norm.", "attn_pool.", "head")
USED = ("cls_token", "reg_token", "pos_embed", "patch_embed.", "norm_pre.", "blocks.")


def create_teacher(name: str, img_size: int | None, model_args: dict[str, Any]) -> nn.Module:
    """Build a timm model without weights, in evaluation mode, without gradients.

    Args:
        name: timm's model name.
        img_size: side of the input in pixels, None for timm's.
        model_args: further arguments of `timm.create_model`.

    Raises:
        ValueError: an unknown name, or a model of another structure.
    """
    try:
        import timm
    except ImportError as error:
        raise ImportError("MaskAlign's teachers need timm: pip install 'mmmim[teachers]'") from error
    arguments = dict(model_args) if img_size is None else dict(model_args, img_size=img_size)
    try:
        model = timm.create_model(name, pretrained=False, num_classes=0, **arguments)
    except RuntimeError as error:  # what timm raises for an unknown name
        known = ", ".join(timm.list_models(f"*{name.split('.')[0][:12]}*")[:8]) or "timm.list_models()"
        raise ValueError(f"timm has no model '{name}' ({error}); similar: {known}") from error
    check_structure(model)
    return model.eval().requires_grad_(False)


def load_teacher(model: Any, state: dict[str, Tensor], name: str, path: Path) -> None:
    """Load the weights that a teacher uses; pooling and heads are ignored.

    Raises:
        ValueError: the file holds another model, or lacks a weight.
    """
    from timm.models.eva import Eva
    from timm.models.eva import checkpoint_filter_fn as to_eva
    from timm.models.vision_transformer import checkpoint_filter_fn as to_vit

    to_timm = to_eva if isinstance(model, Eva) else to_vit
    needed = {k for k in model.state_dict() if not k.startswith(UNUSED)}
    try:
        # OpenAI's weights are in half precision, in which positions must not be resized.
        state = {k: v.float() for k, v in to_timm_teacher(state).items()}
        _check_before_timm(state, model)
        # Positions are resized bicubically without antialiasing (models_pretrain.py:24-30); DINOv2 uses
        # antialiasing in models with registers (facebookresearch/dinov2 dinov2/hub/backbones.py).
        antialias = model.reg_token is not None
        given = to_timm(state, model, antialias=antialias)
        weights = {k: v for k, v in given.items() if k in needed or k.startswith(USED)}
        biases = (k for k, v in weights.items() if k not in needed and k.endswith("bias"))
        for key in [k for k in biases if not weights[k].any()]:
            del weights[key]  # DINOv3's biases are all zero, and timm has a model without them
        missing, unexpected = sorted(needed - weights.keys()), sorted(weights.keys() - needed)
        if missing or unexpected:
            raise ValueError(f"missing {missing[:3]}, unexpected {unexpected[:3]}")
        model.load_state_dict(weights, strict=False)
    except (AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"'{path}' does not hold the weights of the teacher '{name}': {error}. Use the file of "
            "this model, or set model.teacher.name to the model of the file"
        ) from error


def _check_before_timm(state: dict[str, Tensor], model: Any) -> None:
    """Refuse what timm would resize or drop silently.

    Raises:
        ValueError: patches of another size; biases that the model does not have.
    """
    size = model.patch_embed.patch_size
    for key, value in state.items():
        is_patches = key.endswith(("patch_embed.proj.weight", "visual.conv1.weight"))
        if is_patches and value.ndim == 4 and tuple(value.shape[2:]) != tuple(size):
            raise ValueError(f"{key} has patches of {value.shape[2]} pixels, the model of {size[0]}")
        if key.endswith("attn.qkv.bias") and value.any() and not _has_biases(model):
            raise ValueError(f"{key} is not zero, but the model has no such bias (timm's '*_qkvb' has)")


def _has_biases(model: Any) -> bool:
    attention = model.blocks[0].attn
    layer = attention.qkv if attention.qkv is not None else attention.q_proj
    return layer.bias is not None or getattr(attention, "q_bias", None) is not None
