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


@MODELS.register_module()
class ProbedMean(BaseModule):
    """Mean over all positions, LayerNorm and BatchNorm, nothing learned: ConvMAE's linear probe.

    Alpha-VL/ConvMAE main_linprobe.py with --global_pool: `fc_norm` keeps its initial ones and
    zeros, and a BatchNorm without affine goes before the layer.

    Args:
        channels: width of the last map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norms = _unlearned_norms(channels)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor]:
        """Maps (B, C_i, H_i, W_i) -> ((B, C),) of the last."""
        return (self.norms(maps[-1].flatten(2).mean(dim=2)),)


@MODELS.register_module()
class ProbedToken(BaseModule):
    """LayerNorm and BatchNorm of a token, nothing learned: MaskAlign's linear probe.

    OpenDriveLab/maskalign main_linprobe.py: the class token through the ViT's `norm`, which MaskAlign
    does not train and which so keeps its initial ones and zeros, and a BatchNorm without affine.

    Args:
        channels: width of the token.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norms = _unlearned_norms(channels)

    def forward(self, tokens: Sequence[Tensor]) -> tuple[Tensor]:
        """Tokens (B, C) -> ((B, C),) of the last."""
        return (self.norms(tokens[-1]),)


def _unlearned_norms(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(channels, eps=1e-6, elementwise_affine=False),
        nn.BatchNorm1d(channels, eps=1e-6, affine=False),
    )
