"""ViTDet's simple feature pyramid (arXiv 2203.16527, figure 2): many scales from one map."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d

from mmmim.registry import MODELS

# The norm of ViTDet's pyramid and heads: norm_cfg=dict(type="mmmim.LayerNorm2d", eps=1e-6).
MODELS.register_module(name="LayerNorm2d", module=LayerNorm2d)


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Scales the last map up and down; parameter names are detectron2's (modeling/backbone/vit.py).

    mmseg's UperNet recipe wants another pyramid, one map per scale, which mmseg has:
    `Feature2Pyramid`.

    Args:
        in_channels: of the map.
        stride: of the map, in pixels; the patch size.
        out_channels: of every level.
        scales: sizes of the levels relative to the map, each one of 4, 2, 1, 0.5.
        num_outs: levels returned; those beyond `scales` halve the last by max pooling.

    Raises:
        ValueError: another scale, or fewer outputs than scales.
    """

    def __init__(
        self,
        in_channels: int,
        stride: int = 16,
        out_channels: int = 256,
        scales: Sequence[float] = (4, 2, 1, 0.5),
        num_outs: int = 5,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_outs < len(scales):
            raise ValueError(f"num_outs must be at least {len(scales)}, got {num_outs}")
        self.extra = num_outs - len(scales)
        self.names = [f"simfp_{int(math.log2(stride / scale))}" for scale in scales]
        for name, scale in zip(self.names, scales, strict=True):
            self.add_module(name, _level(in_channels, out_channels, scale))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps of a backbone, the last (B, C, H, W) is read -> (B, out, H * scale, W * scale) each."""
        levels = [getattr(self, name)(maps[-1]) for name in self.names]
        for _ in range(self.extra):
            levels.append(F.max_pool2d(levels[-1], kernel_size=1, stride=2))
        return tuple(levels)


def _level(dim: int, out_channels: int, scale: float) -> nn.Sequential:
    if scale == 4:
        resize = [
            nn.ConvTranspose2d(dim, dim // 2, kernel_size=2, stride=2),
            LayerNorm2d(dim // 2, eps=1e-6),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 2, dim // 4, kernel_size=2, stride=2),
        ]
        dim = dim // 4
    elif scale == 2:
        resize, dim = [nn.ConvTranspose2d(dim, dim // 2, kernel_size=2, stride=2)], dim // 2
    elif scale == 1:
        resize = []
    elif scale == 0.5:
        resize = [nn.MaxPool2d(kernel_size=2, stride=2)]
    else:
        raise ValueError(f"scales must be among 4, 2, 1 and 0.5, got {scale}")
    return nn.Sequential(
        *resize,
        NormedConv(dim, out_channels, kernel_size=1),
        NormedConv(out_channels, out_channels, kernel_size=3, padding=1),
    )


class NormedConv(nn.Conv2d):
    """A convolution without bias, then LayerNorm: detectron2's Conv2d(norm="LN")."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int = 0):
        super().__init__(in_channels, out_channels, kernel_size, padding=padding, bias=False)
        self.norm = LayerNorm2d(out_channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))
