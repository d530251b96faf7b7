"""Backbones for linear probing: frozen, and a ViT that returns its class token."""

from types import MethodType
from typing import Any

from torch import Tensor, nn

from mmmim.backbones.vit import ViT
from mmmim.masking import PatchMask
from mmmim.registry import MODELS


@MODELS.register_module()
def FrozenBackbone(backbone: dict[str, Any]) -> nn.Module:
    """Build `backbone` without gradients, always in evaluation mode.

    The result is the backbone itself: same class, same parameter names, same `init_cfg`.
    """
    model = MODELS.build(backbone)
    model.requires_grad_(False).eval()
    model.train = MethodType(lambda self, mode=True: self, model)
    return model


@MODELS.register_module()
class ClassTokenViT(ViT):
    """A ViT whose `forward` returns the normalized class token, which MAE's linear probe reads.

    facebookresearch/mae models_vit.py:50-52.
    """

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """(B, 3, H, W), sides multiples of the patch size -> ((B, D),)."""
        length = (images.shape[2] // self.patch_size) * (images.shape[3] // self.patch_size)
        mask = PatchMask.all_visible(len(images), length, images.device)
        return (self.encode_visible(images, mask)[:, 0],)
