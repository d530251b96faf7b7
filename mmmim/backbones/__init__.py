"""Backbones that pretrain and transfer, each one class."""

from mmmim.backbones.conv_vit import ConvViT
from mmmim.backbones.mixmim_transformer import MixMIMTransformer
from mmmim.backbones.vit import ViT

__all__ = ["ConvViT", "MixMIMTransformer", "ViT"]
