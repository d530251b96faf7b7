"""Backbones that pretrain and transfer, each one class."""

from mmmim.backbones.vit import ViT

__all__ = ["ViT"]
