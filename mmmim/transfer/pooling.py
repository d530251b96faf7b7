"""Pooling for classifiers: from the maps of a backbone to one vector per image."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmim.registry import MODELS


@MODELS.register_module()
class GlobalPoolNorm(BaseModule):
    """Global average pooling, then LayerNorm: the `fc_norm` of MAE, ConvMAE and MaskAlign.

    facebookresearch/mae models_vit.py:23-54. MixMIM normalizes before pooling: use mmpretrain's
    `GlobalAveragePooling` on its normalized map.

    Args:
        channels: of the last map.
        eps: of the LayerNorm.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=eps)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor]:
        """Maps (B, C_i, H_i, W_i) -> ((B, C),) of the last."""
        return (self.norm(maps[-1].flatten(2).mean(dim=2)),)


@MODELS.register_module()
class ProbeGlobalPool(BaseModule):
    """Global average pooling, LayerNorm and BatchNorm without parameters: ConvMAE's linear probe.

    Alpha-VL/ConvMAE main_linprobe.py with --global_pool: `fc_norm` keeps its initial ones and zeros,
    and a BatchNorm without affine precedes the linear layer.

    Args:
        channels: of the last map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norms = _parameter_free_norms(channels)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor]:
        """Maps (B, C_i, H_i, W_i) -> ((B, C),) of the last."""
        return (self.norms(maps[-1].flatten(2).mean(dim=2)),)


@MODELS.register_module()
class ProbeClsToken(BaseModule):
    """LayerNorm and BatchNorm of a token, without parameters: MaskAlign's linear probe.

    OpenDriveLab/maskalign main_linprobe.py: the class token after the `norm` of the ViT, which
    MaskAlign does not train, so that it keeps its initial ones and zeros, and a BatchNorm without
    affine.

    Args:
        channels: of the token.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norms = _parameter_free_norms(channels)

    def forward(self, tokens: Sequence[Tensor]) -> tuple[Tensor]:
        """Tokens (B, C) -> ((B, C),) of the last."""
        return (self.norms(tokens[-1]),)


def _parameter_free_norms(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(channels, eps=1e-6, elementwise_affine=False),
        nn.BatchNorm1d(channels, eps=1e-6, affine=False),
    )
