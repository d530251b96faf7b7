"""What a classifier reads of a backbone's maps."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmim.registry import MODELS


@MODELS.register_module()
class NormedMean(BaseModule):
    """Mean over all positions, then LayerNorm: the `fc_norm` of MAE, ConvMAE and MaskAlign.

    facebookresearch/mae models_vit.py:23-54. MixMIM norms before the mean: mmpretrain's
    `GlobalAveragePooling` on its normed map.

    Args:
        channels: width of the last map.
        eps: of the LayerNorm.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=eps)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor]:
        """Maps (B, C_i, H_i, W_i) -> ((B, C),) of the last."""
        return (self.norm(maps[-1].flatten(2).mean(dim=2)),)
