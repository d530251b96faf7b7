"""Backbones: one class pretrains and transfers. `base.Backbone` is their contract."""

from mmmim.backbones.base import Backbone, MixedEncoder, StageEncoder, VisibleEncoder
from mmmim.backbones.conv_vit import ConvViT
from mmmim.backbones.linear_probe import ClassTokenViT, FrozenBackbone
from mmmim.backbones.mixmim_transformer import MixMIMTransformer
from mmmim.backbones.vit import ViT

__all__ = [
    "Backbone",
    "ClassTokenViT",
    "ConvViT",
    "FrozenBackbone",
    "MixMIMTransformer",
    "MixedEncoder",
    "StageEncoder",
    "ViT",
    "VisibleEncoder",
]
