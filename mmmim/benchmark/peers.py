"""Official implementations as the user cloned them, made importable under today's packages.

Their code is of 2021 and 2022: it asks for modules that timm has moved, and for `np.float`. Both are
given back here, under their old names; nothing of the implementations is changed.
"""

import functools
import importlib
import sys
import types
from pathlib import Path

import numpy as np
import timm.layers
import timm.models.swin_transformer as swin
import timm.models.vision_transformer as timm_vit
from torch import nn


def mae(folder: Path) -> nn.Module:
    """facebookresearch/mae: base, normalised pixels; `model(images)` gives (loss, prediction, mask)."""
    return import_official(folder, "models_mae").mae_vit_base_patch16(norm_pix_loss=True)


def convmae(folder: Path) -> nn.Module:
    """Alpha-VL/ConvMAE: base, normalised pixels; `model(images)` gives (loss, prediction, mask)."""
    module = import_official(folder, "models_convmae")
    return module.convmae_convvit_base_patch16(norm_pix_loss=True)


def fastconvmae(folder: Path) -> nn.Module:
    """Alpha-VL/FastConvMAE, likewise."""
    module = import_official(folder, "models_fastconvmae")
    return module.fastconvmae_convvit_base_patch16_dec512d8b(norm_pix_loss=True)


def mixmim(folder: Path) -> nn.Module:
    """Sense-X/MixMIM: base, normalised pixels; `model(images)` gives (loss, prediction, mask)."""
    return import_official(folder, "models_mixmim").mixmim_base(norm_pix_loss=True)


def maskalign(folder: Path, teacher: str = "openai/clip-vit-base-patch16", **options) -> nn.Module:
    """OpenDriveLab/maskalign: ViT-B and a teacher of its size, whose weights are random.

    `model(images)` gives (loss,). Needs transformers, of a version below 5.

    Args:
        folder: the clone.
        teacher: the Hugging Face name that decides its kind and size.
        options: of `MaskedAutoencoderViT`; the published recipe's where left out.
    """
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            "official MaskAlign takes its teacher from transformers: pip install 'transformers<5'"
        ) from error
    large = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16)
    base = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    size = large if "large" in teacher else base
    patch = int(teacher.rpartition("patch")[2]) if "patch" in teacher else 16
    eager = dict(attn_implementation="eager", image_size=224, patch_size=patch)

    class Clip(transformers.CLIPVisionModel):
        @classmethod
        def from_pretrained(cls, name: str):
            return transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**size, **eager))

    class Dino(transformers.ViTModel):
        @classmethod
        def from_pretrained(cls, name: str):
            return transformers.ViTModel(transformers.ViTConfig(**size, **eager, layer_norm_eps=1e-12))

    module = import_official(folder, "models_pretrain")
    module.CLIPVisionModel, module.ViTModel = Clip, Dino
    recipe = dict(
        mask_type="attention",
        fusion_type="linear",
        target_norm="whiten",
        loss_type="smoothl1",
        loss_weights="top5",
    )
    student = dict(patch_size=16, embed_dim=768, depth=12, num_heads=12, mlp_ratio=4)
    norm = dict(norm_layer=functools.partial(nn.LayerNorm, eps=1e-6))
    model = module.MaskedAutoencoderViT(
        **{**student, **norm, **recipe, **options}, teacher_model=teacher
    )
    forward = model.forward
    model.forward = lambda images: (forward(images, mask_ratio=0.7),)
    return model


def pixmim(folder: Path) -> nn.Module:
    """open-mmlab/mmselfsup's PixMIM: its target on the MAE that mmpretrain took over from it."""
    return _PixMIM(low_frequency_target(folder))


def low_frequency_target(folder: Path) -> nn.Module:
    """The one file of mmselfsup that has the target, with a stand-in for the registry it imports."""
    registry = types.ModuleType("mmselfsup.registry")
    registry.MODELS = types.SimpleNamespace(register_module=lambda: lambda cls: cls)
    names = {"mmselfsup": types.ModuleType("mmselfsup"), "mmselfsup.registry": registry}
    sys.modules.update(names)
    try:
        module = import_official(folder / "mmselfsup/models/target_generators", "low_freq_generator")
    finally:
        for name in names:
            del sys.modules[name]
    return module.LowFreqTargetGenerator(radius=40, img_size=224)


# Method of a config -> its official implementation.
OFFICIAL = {
    "ConvMAE": convmae,
    "FastConvMAE": fastconvmae,
    "MAE": mae,
    "MaskAlign": maskalign,
    "MixMIM": mixmim,
    "PixMIM": pixmim,
}


class _Mmpretrain(nn.Module):
    """A self-supervised model of mmpretrain; `model(images)` gives (loss,)."""

    def __init__(self, config: dict) -> None:
        super().__init__()
        import mmpretrain.models  # noqa: F401  registers them
        from mmengine.registry import DefaultScope
        from mmpretrain.registry import MODELS

        with DefaultScope.overwrite_default_scope("mmpretrain"):
            self.model = MODELS.build(config)
            self.model.init_weights()

    def forward(self, images):
        return (self.model(images, mode="loss")["loss"],)


class _PixMIM(nn.Module):
    """mmselfsup/models/algorithms/pixmim.py: MAE's loss on another target; gives (loss,)."""

    def __init__(self, target: nn.Module) -> None:
        super().__init__()
        self.mae, self.target = mmpretrain_mae().model, target

    def forward(self, images):
        latent, mask, order = self.mae.backbone(images)
        prediction = self.mae.neck(latent, order)
        return (self.mae.head.loss(prediction, self.target(images), mask),)


def mmpretrain_mixmim() -> nn.Module:
    """mmpretrain's MixMIM, base (its configs/mixmim/mixmim_mixmim-base_16xb128-coslr-300e_in1k.py)."""
    loss = dict(type="PixelReconstructionLoss", criterion="L2")
    return _Mmpretrain(
        dict(
            type="MixMIM",
            backbone=dict(type="MixMIMPretrainTransformer", arch="base"),
            neck=dict(type="MixMIMPretrainDecoder", num_patches=49, encoder_stride=32),
            head=dict(type="MixMIMPretrainHead", norm_pix=True, loss=loss),
        )
    )


def mmpretrain_mae() -> nn.Module:
    """mmpretrain's MAE, base (its configs/_base_/models/mae_vit-base-p16.py)."""
    loss = dict(type="PixelReconstructionLoss", criterion="L2")
    return _Mmpretrain(
        dict(
            type="MAE",
            backbone=dict(type="MAEViT", arch="b", patch_size=16, mask_ratio=0.75),
            neck=dict(
                type="MAEPretrainDecoder",
                patch_size=16,
                in_chans=3,
                embed_dim=768,
                decoder_embed_dim=512,
                decoder_depth=8,
                decoder_num_heads=16,
                mlp_ratio=4.0,
            ),
            head=dict(type="MAEPretrainHead", norm_pix=True, patch_size=16, loss=loss),
        )
    )


# Method of a config -> mmpretrain's implementation.
MMPRETRAIN = {"MAE": mmpretrain_mae, "MixMIM": mmpretrain_mixmim}


class _Block(timm_vit.Block):
    """timm 0.3.2's signature: `qk_scale` was always None."""

    def __init__(self, *args, qk_scale=None, **kwargs):
        super().__init__(*args, **kwargs)


class _PatchMerging(swin.PatchMerging):
    """timm 0.3.2's signature: tokens in a row, on a map whose size is known beforehand."""

    def __init__(self, input_resolution, dim, norm_layer=nn.LayerNorm):
        super().__init__(dim, norm_layer=norm_layer)
        self.input_resolution = input_resolution

    def forward(self, tokens):
        return super().forward(tokens.unflatten(1, self.input_resolution)).flatten(1, 2)


def give_back_old_names() -> None:
    """What the official code imports from timm 0.3.2 and numpy 1.19."""
    np.float = float
    stand_ins = {
        "timm.models.layers": vars(timm.layers),
        "timm.models.helpers": dict(load_pretrained=None),
        "timm.models.resnet": dict(resnet26d=None, resnet50d=None),
        "timm.models.vision_transformer": {**vars(timm_vit), "Block": _Block},
        "timm.models.registry": dict(register_model=lambda function: function),
        "timm.models.swin_transformer": dict(
            PatchMerging=_PatchMerging,
            window_partition=lambda x, size: swin.window_partition(x, (size, size)),
            window_reverse=lambda x, size, h, w: swin.window_reverse(x, (size, size), h, w),
        ),
    }
    for name, content in stand_ins.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update({k: v for k, v in content.items() if not k.startswith("__")})


def import_official(folder: Path, name: str) -> types.ModuleType:
    """Import `name` from `folder`, whose own modules go before any of the same name."""
    if not (folder / f"{name}.py").is_file():
        raise FileNotFoundError(f"'{folder}' has no {name}.py: is it a clone of the right repository?")
    todays = {name: module for name, module in sys.modules.items() if name.startswith("timm.")}
    give_back_old_names()
    for module in ("vision_transformer", "util", "util.pos_embed"):  # of another official folder
        sys.modules.pop(module, None)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
        sys.modules.update(todays)
