"""What every backbone offers (`Backbone`), and what the backbones share."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmmim.masking import PatchMask


@runtime_checkable
class Backbone(Protocol):
    """An encoder of images, the same class in pretraining and transfer.

    Attributes:
        embed_dims: width of the tokens of the last stage of the architecture.
        num_layers: depth for layer-wise decay; `get_layer_depth` gives at most num_layers + 1.
        img_size: side in pixels of the images that the position table is made for.
        patch_size: side of a masked patch in pixels; the stride of the tokens that a mask selects.
        grid_size: (rows, columns) of patches at `img_size`.
    """

    embed_dims: int
    num_layers: int
    img_size: int
    patch_size: int
    grid_size: tuple[int, int]

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) of any size -> one map (B, C_i, H_i, W_i) per `out_indices`."""
        ...

    def get_layer_depth(self, name: str) -> int:
        """Depth of the parameter `name` for layer-wise learning-rate decay."""
        ...


@runtime_checkable
class VisibleEncoder(Backbone, Protocol):
    """A backbone that encodes the visible patches alone: `ViT`, `ConvViT`."""

    def encode_visible(self, images: Tensor, mask: PatchMask | Tensor) -> Tensor:
        """(B, 3, H, W) and K * B masks -> tokens (K * B, [1 +] V, D), a class token first."""
        ...

    def encode_visible_layers(self, images: Tensor, mask: PatchMask | Tensor) -> list[Tensor]:
        """As `encode_visible`: hidden states after each block, before the final norm."""
        ...


@runtime_checkable
class StageEncoder(VisibleEncoder, Protocol):
    """A hierarchical `VisibleEncoder`: `ConvViT`.

    Attributes:
        stage_dims: token widths of the three stages.
        stage_sides: tokens along one side of a patch, in stages 1 and 2.
    """

    stage_dims: tuple[int, int, int]
    stage_sides: tuple[int, int]

    def encode_visible_stages(
        self, images: Tensor, mask: PatchMask | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens of the visible patches after each of the three stages."""
        ...


@runtime_checkable
class MixedEncoder(Backbone, Protocol):
    """A backbone that encodes pairs of mixed images: `MixMIMTransformer`.

    Attributes:
        out_indices: stages whose maps `forward` returns; the last one is the last stage computed.
        stage_dims: token widths of the stages.
        depths: blocks per stage.
    """

    out_indices: tuple[int, ...]
    stage_dims: tuple[int, ...]
    depths: tuple[int, ...]

    def encode_mixed(self, images: Tensor, mask: PatchMask | Tensor) -> Tensor:
        """(B, 3, H, W) and one mask (1, L) for the batch -> tokens (B, L, D) of the mixtures."""
        ...

    def encode_mixed_layers(self, images: Tensor, mask: PatchMask | Tensor) -> list[Tensor]:
        """As `encode_mixed`, of a model that ends with stage 3: tokens after each of its blocks."""
        ...


def resolve_arch(arch: str | dict[str, Any], sizes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The sizes of a named architecture; a custom dict is returned as it is.

    Raises:
        ValueError: an unknown name, or a dict that lacks a key of the named sizes.
    """
    if isinstance(arch, str):
        if arch not in sizes:
            raise ValueError(f"arch must be one of {sorted(sizes)} or a dict, got '{arch}'")
        return sizes[arch]
    needed = next(iter(sizes.values()))
    if missing := set(needed) - set(arch):
        raise ValueError(f"a custom arch needs the keys {', '.join(needed)}; missing {sorted(missing)}")
    return arch


def run_block(block: nn.Module, *args: Any, with_cp: bool) -> Tensor:
    """`block(*args)`; `with_cp` recomputes the activations in the backward pass to save memory."""
    if with_cp and torch.is_grad_enabled():
        return checkpoint(block, *args, use_reentrant=False)
    return block(*args)
