"""Backbones: one class pretrains and transfers."""

from mmmim.backbones.conv_vit import ConvViT
from mmmim.backbones.mixmim_transformer import MixMIMTransformer
from mmmim.backbones.probing import ClassTokenViT, FrozenBackbone
from mmmim.backbones.vit import ViT

__all__ = ["ClassTokenViT", "ConvViT", "FrozenBackbone", "MixMIMTransformer", "ViT"]
