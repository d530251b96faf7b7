"""Backbones as a linear probe reads them: frozen, and a ViT by its class token."""

from types import MethodType

import torch
from torch import Tensor, nn

from mmmim.backbones.vit import ViT
from mmmim.registry import MODELS


@MODELS.register_module()
def FrozenBackbone(backbone: dict) -> nn.Module:
    """Build `backbone` so that it does not learn: no gradients, always in evaluation mode.

    What this returns is the backbone itself: same class, same parameter names, same `init_cfg`.
    """
    model = MODELS.build(backbone)
    model.requires_grad_(False).eval()
    model.train = MethodType(lambda self, mode=True: self, model)
    return model


@MODELS.register_module()
class ClassTokenViT(ViT):
    """A ViT whose `forward` gives the normed class token, what MAE's linear probe reads.

    facebookresearch/mae models_vit.py:50-52.
    """

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """(B, 3, H, W), sides multiples of the patch size -> ((B, D),)."""
        length = (images.shape[2] // self.patch_size) * (images.shape[3] // self.patch_size)
        mask = torch.zeros(len(images), length, dtype=torch.bool, device=images.device)
        return (self.encode_visible(images, mask, length)[:, 0],)
