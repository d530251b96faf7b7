"""One more, coarser map, for heads that want four scales from a backbone with three stages."""

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor

from mmmim.registry import MODELS


@MODELS.register_module()
class AppendHalved(BaseModule):
    """Appends the last map, halved by a convolution, a norm and GELU: ConvMAE's stride 32 for UperNet.

    Alpha-VL/ConvMAE SEG/backbone/convmae.py:364-368 (`fpn`). The 3x3 convolution has no padding there,
    so 32 positions become 15; released weights were trained on it, so it is kept.

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
            ValueError: the last map is smaller than the convolution.
        """
        if min(maps[-1].shape[2:]) < 3:
            raise ValueError(
                f"the last map must be at least 3x3 to be halved, got {tuple(maps[-1].shape[2:])}: "
                "use larger images or crops, three times the map's stride at least"
            )
        return (*maps, self.halve(maps[-1]))
