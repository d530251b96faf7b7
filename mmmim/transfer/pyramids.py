"""Pyramids: ViTDet's from one map (arXiv 2203.16527, figure 2), ConvMAE's from three stages."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d

from mmmim.registry import MODELS

# The norm of ViTDet's pyramid and heads: norm_cfg=dict(type="mmmim.LayerNorm2d", eps=1e-6).
MODELS.register_module(name="LayerNorm2d", module=LayerNorm2d)


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Rescale the last map; parameter names are detectron2's (modeling/backbone/vit.py).

    The UperNet recipe uses another pyramid, with one map per scale: mmseg's `Feature2Pyramid`.

    Args:
        in_channels: channels of the map.
        stride: of the map in pixels, that is, the patch size.
        out_channels: channels of every level.
        scales: sizes of the levels relative to the map, each 4, 2, 1 or 0.5.
        num_outs: number of levels; levels beyond `scales` are max-pooled from the last one.

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
        """Rescale the last map (B, C, H, W) of a backbone -> (B, out, H * scale, W * scale) each."""
        levels = [getattr(self, name)(maps[-1]) for name in self.names]
        for _ in range(self.extra):
            levels.append(F.max_pool2d(levels[-1], kernel_size=1, stride=2))
        return tuple(levels)


@MODELS.register_module()
class AppendDownsampled(BaseModule):
    """Append the last map, downsampled by a convolution, a norm and GELU (ConvMAE's UperNet).

    Alpha-VL/ConvMAE SEG/backbone/convmae.py:364-368 (`fpn`). The 3x3 convolution has no padding there,
    so 32 positions become 15. Released weights were trained with it, so it is reproduced.

    Args:
        in_channels: of the last map.
        norm_cfg: of the norm.
    """

    def __init__(self, in_channels: int, norm_cfg: dict, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.halve = ConvModule(
            in_channels,
            in_channels,
            kernel_size=3,
            stride=2,
            bias=True,
            norm_cfg=norm_cfg,
            act_cfg=dict(type="GELU"),
        )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps (B, C_i, H_i, W_i) -> the same, and (B, C, (H - 1) // 2, (W - 1) // 2) of the last.

        Raises:
            ValueError: the last map is smaller than 3x3.
        """
        if min(maps[-1].shape[2:]) < 3:
            raise ValueError(
                f"the last map must be 3x3 or larger, got {tuple(maps[-1].shape[2:])}: use "
                "images or crops of at least three times the stride of the map"
            )
        return (*maps, self.halve(maps[-1]))


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
    """A convolution without bias, then LayerNorm (detectron2's Conv2d with norm="LN")."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int = 0):
        super().__init__(in_channels, out_channels, kernel_size, padding=padding, bias=False)
        self.norm = LayerNorm2d(out_channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))
