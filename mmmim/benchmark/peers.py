"""Official implementations from clones of the user, made importable with today's packages.

Their code of 2021 and 2022 imports timm modules that have moved, and uses `np.float`. This module
restores the old names. The implementations themselves are not changed.
"""

import functools
import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from pathlib import Path

import numpy as np
import timm.layers
import timm.models.swin_transformer as swin
import timm.models.vision_transformer as timm_vit
from torch import nn


def mae(folder: Path) -> nn.Module:
    """facebookresearch/mae, base size, normalized pixels.

    `model(images)` returns (loss, prediction, mask).
    """
    return import_official(folder, "models_mae").mae_vit_base_patch16(norm_pix_loss=True)


def convmae(folder: Path) -> nn.Module:
    """Alpha-VL/ConvMAE, base size, normalized pixels.

    `model(images)` returns (loss, prediction, mask).
    """
    module = import_official(folder, "models_convmae")
    return module.convmae_convvit_base_patch16(norm_pix_loss=True)


def fastconvmae(folder: Path) -> nn.Module:
    """Alpha-VL/FastConvMAE, base size, normalized pixels.

    `model(images)` returns (loss, prediction, mask).
    """
    module = import_official(folder, "models_fastconvmae")
    return module.fastconvmae_convvit_base_patch16_dec512d8b(norm_pix_loss=True)


def mixmim(folder: Path) -> nn.Module:
    """Sense-X/MixMIM, base size, normalized pixels.

    `model(images)` returns (loss, prediction, mask).
    """
    return import_official(folder, "models_mixmim").mixmim_base(norm_pix_loss=True)


def maskalign(folder: Path, teacher: str = "openai/clip-vit-base-patch16", **options) -> nn.Module:
    """OpenDriveLab/maskalign: ViT-B, and a teacher with random weights.

    `model(images)` returns (loss,). Needs transformers below version 5.

    Args:
        folder: the clone.
        teacher: Hugging Face name of the teacher, which determines its kind and size.
        options: arguments of `MaskedAutoencoderViT`; default those of the published recipe.

    Raises:
        ImportError: transformers is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            "the official MaskAlign needs transformers for its teacher: pip install 'transformers<5'"
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
    """open-mmlab/mmselfsup's PixMIM: its target, with the MAE that mmpretrain took over from mmselfsup.

    `model(images)` returns (loss,).
    """
    return _PixMIM(low_frequency_target(folder))


def low_frequency_target(folder: Path) -> nn.Module:
    """mmselfsup's target generator, imported from its one file with a stub of mmselfsup's registry.

    The radius of 40 at 224 pixels is that of mmselfsup configs/selfsup/pixmim.
    """
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


# Type of a method -> its official implementation.
OFFICIAL = {
    "ConvMAE": convmae,
    "FastConvMAE": fastconvmae,
    "MAE": mae,
    "MaskAlign": maskalign,
    "MixMIM": mixmim,
    "PixMIM": pixmim,
}


class _Mmpretrain(nn.Module):
    """A self-supervised model of mmpretrain; `model(images)` returns (loss,)."""

    def __init__(self, config: dict) -> None:
        super().__init__()
        import mmpretrain.models  # noqa: F401  registers the models
        from mmengine.registry import DefaultScope
        from mmpretrain.registry import MODELS

        with DefaultScope.overwrite_default_scope("mmpretrain"):
            self.model = MODELS.build(config)
            self.model.init_weights()

    def forward(self, images):
        return (self.model(images, mode="loss")["loss"],)


class _PixMIM(nn.Module):
    """mmselfsup/models/algorithms/pixmim.py: MAE with another target; returns (loss,)."""

    def __init__(self, target: nn.Module) -> None:
        super().__init__()
        self.mae, self.target = mmpretrain_mae().model, target

    def forward(self, images):
        latent, mask, order = self.mae.backbone(images)
        prediction = self.mae.neck(latent, order)
        return (self.mae.head.loss(prediction, self.target(images), mask),)


def mmpretrain_mixmim() -> nn.Module:
    """MixMIM-B of mmpretrain configs/mixmim/mixmim_mixmim-base_16xb128-coslr-300e_in1k.py."""
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
    """MAE ViT-B of mmpretrain configs/_base_/models/mae_vit-base-p16.py."""
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


# Type of a method -> mmpretrain's implementation.
MMPRETRAIN = {"MAE": mmpretrain_mae, "MixMIM": mmpretrain_mixmim}


class _Block(timm_vit.Block):
    """Block with timm 0.3.2's signature; the official code always passes `qk_scale=None`."""

    def __init__(self, *args, qk_scale=None, **kwargs):
        super().__init__(*args, **kwargs)


class _PatchMerging(swin.PatchMerging):
    """PatchMerging with timm 0.3.2's signature: tokens (B, L, C) of a map of known size."""

    def __init__(self, input_resolution, dim, norm_layer=nn.LayerNorm):
        super().__init__(dim, norm_layer=norm_layer)
        self.input_resolution = input_resolution

    def forward(self, tokens):
        return super().forward(tokens.unflatten(1, self.input_resolution)).flatten(1, 2)


def give_back_old_names() -> None:
    """Restore the names that the official code imports from timm 0.3.2 and numpy 1.19."""
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
    """Import module `name` from `folder`, whose modules take precedence over others of the same name.

    Raises:
        FileNotFoundError: the folder has no such module.
    """
    if not (folder / f"{name}.py").is_file():
        raise FileNotFoundError(f"'{folder}' has no {name}.py: pass a clone of the method's repository")
    todays = {name: module for name, module in sys.modules.items() if name.startswith("timm.")}
    give_back_old_names()
    for module in ("vision_transformer", "util", "util.pos_embed"):  # of another clone
        sys.modules.pop(module, None)
    finder = _FolderFinder(folder)
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(name)
    finally:
        sys.meta_path.remove(finder)
        sys.modules.update(todays)


class _FolderFinder(importlib.abc.MetaPathFinder):
    """Finds top-level modules in one folder only."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def find_spec(self, name, path, target=None):
        return None if path else importlib.machinery.PathFinder.find_spec(name, [self.folder])
