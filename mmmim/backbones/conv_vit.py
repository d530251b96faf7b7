"""ConvMAE's encoder (arXiv 2205.03892, figure 1): two convolutional stages, then transformer blocks."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmim.backbones.base import resolve_arch, run_block
from mmmim.backbones.conv_stages import ConvBlock, Placement, StageEmbed, VisiblePatches, WholeMap
from mmmim.deprecation import renamed_arguments
from mmmim.layers.attention import (
    DecomposedRelativePosition,
    RelativePositionBias,
    cast_to_autocast,
)
from mmmim.layers.block import Block, init_like_mae
from mmmim.layers.tokens import gather_tokens, patchify, resample_abs_pos_embed, sincos_2d
from mmmim.masking import PatchMask, as_patch_mask
from mmmim.registry import MODELS

# Base: models_convmae.py:241-246. Large: MCG-NJU/MixFormer, which loads the released weights. Small is
# published by name only (MR-MCMAE, arXiv 2303.05475): its widths are ours, half of base.
SIZES = {
    "small": dict(embed_dims=(128, 192, 384), depths=(2, 2, 11), num_heads=6),
    "base": dict(embed_dims=(256, 384, 768), depths=(2, 2, 11), num_heads=12),
    "large": dict(embed_dims=(384, 768, 1024), depths=(2, 2, 20), num_heads=16),
}


@MODELS.register_module()
class ConvViT(BaseModule):
    """Stages at strides 4, 8 and 16: depthwise convolutions in the first two, attention in the third.

    Parameter names are the official ones (models_convmae.py, models_convvit.py).

    The defaults are those of pretraining. Published transfer recipes: `relative_position="shared",
    window_size=16, global_blocks=(0, 3, 6, 10)` with an FPN; `relative_position="decomposed",
    window_size=14, global_blocks=(1, 4, 7, 10), out_indices=(2,)` with a simple feature pyramid;
    `relative_position="bias", layer_scale=1.0, out_indices=(0, 1, 2)` for UperNet.

    Args:
        arch: a name in SIZES, or a dict with embed_dims and depths (three each), num_heads, and
            optionally patch_sizes (default (4, 2, 2)) and mlp_ratio (default 4).
        img_size: side in pixels of the images that the position table `pos_embed` is made for.
        out_indices: maps that `forward` returns: 0, 1, 2 (the stages) and 3 (the last, max-pooled).
        learnable_pos_embed: whether `pos_embed` is trained; pretraining freezes it.
        window_size: side of the attention windows in stage-3 tokens, None for global attention.
        global_blocks: stage-3 blocks with global attention although `window_size` is set.
        relative_position: "decomposed" or "bias" (one table per block), "shared" (one table for all
            windowed blocks and one for all global blocks) or None.
        relative_position_size: side in pixels of the images that the tables of global blocks are
            made for.
        layer_scale: initial LayerScale of stage 3, None for none.
        drop_path_rate: of the last block; grows linearly from 0 over the blocks of all stages.
        conv_eps: of the LayerNorms in convolutional blocks; 1e-5 everywhere except in the later
            detection code, which uses 1e-6 with the same weights.
        eps: of the LayerNorms in transformer blocks; the segmentation code uses 1e-5.
        with_cp: recompute each block in the backward pass to save memory.
        init_cfg: `dict(type="mmmim.PretrainedBackbone", checkpoint=...)` for transfer.

    Raises:
        ValueError: an unknown `arch` or `relative_position`; an `img_size` that is not a multiple of
            the stride; `out_indices` outside 0..3 or without 2 and 3; `global_blocks` outside stage 3;
            a `relative_position_size` below the stride.
    """

    @renamed_arguments(train_positions="learnable_pos_embed")
    def __init__(
        self,
        arch: str | dict[str, Any] = "base",
        img_size: int = 224,
        out_indices: tuple[int, ...] = (0, 1, 2, 3),
        learnable_pos_embed: bool = False,
        window_size: int | None = None,
        global_blocks: tuple[int, ...] = (),
        relative_position: str | None = None,
        relative_position_size: int = 1024,
        layer_scale: float | None = None,
        drop_path_rate: float = 0.0,
        conv_eps: float = 1e-5,
        eps: float = 1e-6,
        with_cp: bool = False,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        size = {"patch_sizes": (4, 2, 2), "mlp_ratio": 4.0, **resolve_arch(arch, SIZES)}
        dims, depths, heads = size["embed_dims"], size["depths"], size["num_heads"]
        patches, mlp_ratio = size["patch_sizes"], size["mlp_ratio"]
        stride = patches[0] * patches[1] * patches[2]
        if img_size % stride:
            raise ValueError(f"img_size must be a multiple of the stride {stride}, got {img_size}")
        if not set(out_indices) <= {0, 1, 2, 3} or not {2, 3} & set(out_indices):
            raise ValueError(
                "out_indices must be among 0, 1, 2 and 3, and include 2 or 3 (the transformer), "
                f"got {out_indices}"
            )
        if not set(global_blocks) <= set(range(depths[2])):
            raise ValueError(f"global_blocks must lie in 0..{depths[2] - 1}, got {global_blocks}")
        if relative_position_size < stride:
            raise ValueError(
                f"relative_position_size must be an image side of at least {stride} pixels, "
                f"got {relative_position_size}"
            )
        if relative_position not in (None, "decomposed", "bias", "shared"):
            raise ValueError(
                "relative_position must be 'decomposed', 'bias', 'shared' or None, "
                f"got '{relative_position}'"
            )
        self.stage_dims, self.embed_dims = dims, dims[2]
        self.num_layers, self.num_heads = depths[2], heads
        self.img_size, self.patch_size = img_size, stride
        self.grid_size = (img_size // stride, img_size // stride)
        # Tokens along one side of a patch, in stages 1 and 2.
        self.stage_sides = (patches[1] * patches[2], patches[2])
        self.out_indices = tuple(sorted(out_indices))
        self.with_cp = with_cp

        self.patch_embed1 = StageEmbed(patches[0], 3, dims[0])
        self.patch_embed2 = StageEmbed(patches[1], dims[0], dims[1])
        self.patch_embed3 = StageEmbed(patches[2], dims[1], dims[2])
        self.patch_embed4 = nn.Linear(dims[2], dims[2])
        self.pos_embed = nn.Parameter(
            sincos_2d(dims[2], self.grid_size).unsqueeze(0), requires_grad=learnable_pos_embed
        )

        rates = iter(torch.linspace(0, drop_path_rate, sum(depths)).tolist())
        self.blocks1, self.blocks2 = (
            nn.ModuleList(ConvBlock(dim, mlp_ratio, next(rates), conv_eps) for _ in range(depth))
            for dim, depth in zip(dims[:2], depths[:2], strict=True)
        )
        global_grid = (relative_position_size // stride,) * 2
        self.blocks3 = nn.ModuleList()
        for i in range(depths[2]):
            window = None if i in global_blocks else window_size
            grid = global_grid if window is None else (window, window)
            self.blocks3.append(
                Block(
                    dims[2],
                    heads,
                    mlp_ratio,
                    drop_path=next(rates),
                    layer_scale=layer_scale,
                    relative_position=_block_position(relative_position, grid, dims[2], heads),
                    window_size=window,
                    eps=eps,
                )
            )
        self.global_position = self.window_position = None
        windows = {block.window_size for block in self.blocks3}
        if relative_position == "shared" and None in windows:
            self.global_position = RelativePositionBias(global_grid, heads, with_cls_token=False)
        if relative_position == "shared" and window_size is not None and window_size in windows:
            grid = (window_size, window_size)
            self.window_position = RelativePositionBias(grid, heads, with_cls_token=False)
        self._init_like_official()

    def _init_like_official(self) -> None:
        """models_convmae.py:75-103: Xavier for Linear layers and the third embedding.

        Convolutions keep torch's default. The linear maps inside convolutional blocks are 1x1
        convolutions there and keep that default too.
        """
        init_like_mae(self.blocks3)
        nn.init.xavier_uniform_(self.patch_embed4.weight)
        nn.init.zeros_(self.patch_embed4.bias)
        nn.init.xavier_uniform_(self.patch_embed3.proj.weight.data.flatten(1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) of any size -> maps (B, C, H', W') per `out_indices`, strides 4, 8, 16 and 32.

        Images are zero-padded at the bottom and right to whole patches; the map of stride 32 is the
        last stage after max pooling. No map is normalized.
        """
        p = self.patch_size
        images = F.pad(images, (0, -images.shape[-1] % p, 0, -images.shape[-2] % p))
        stage1, stage2 = self._conv_stages(images.permute(0, 2, 3, 1), WholeMap(), WholeMap())
        tokens = self.patch_embed4(self.patch_embed3(stage2))
        grid = tuple(tokens.shape[1:3])
        tokens = tokens.flatten(1, 2) + self._patch_pos_embed(grid)
        stage3 = self._attention_stage(tokens, grid)[-1].unflatten(1, grid)
        maps = [stage.permute(0, 3, 1, 2) for stage in (stage1, stage2, stage3)]
        maps.append(F.max_pool2d(maps[2], kernel_size=2, stride=2, ceil_mode=True))
        return tuple(maps[i].contiguous() for i in self.out_indices)

    def encode_visible(self, images: Tensor, mask: PatchMask | Tensor) -> Tensor:
        """The last stage of `encode_visible_stages`: (K * B, V, C3)."""
        return self.encode_visible_stages(images, mask)[-1]

    def encode_visible_stages(
        self, images: Tensor, mask: PatchMask | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Encode the visible patches alone, in all three stages.

        Args:
            images: (B, 3, H, W), sides multiples of the stride.
            mask: a `PatchMask` of K * B masks (K masks per image, one batch after another), or a bool
                tensor (K * B, L), True = masked.

        Returns:
            Tokens of the visible patches in row-major order: (K * B, V, s, s, C1) and
            (K * B, V, t, t, C2) with s and t tokens along one side of a patch, and (K * B, V, C3).
            None is normalized.

        Raises:
            ValueError: the model has windows or relative positions; the image size is not a multiple
                of the stride; the mask does not fit.
        """
        stage1, stage2, tokens, grid = self._encode_conv_stages(images, as_patch_mask(mask))
        return stage1, stage2, self._attention_stage(tokens, grid)[-1]

    def encode_visible_layers(self, images: Tensor, mask: PatchMask | Tensor) -> list[Tensor]:
        """As `encode_visible`: (K * B, V, C3) after each block of stage 3."""
        _, _, tokens, grid = self._encode_conv_stages(images, as_patch_mask(mask))
        return self._attention_stage(tokens, grid)[1:]

    def get_layer_depth(self, name: str) -> int:
        """Depth of a parameter for layer-wise decay: 0 up to stage 2, i + 1 block i of stage 3.

        The convolutional stages count as one layer (util/lr_decay.py:63-82,
        SEG/mmcv_custom/layer_decay_optimizer_constructor.py:6-19).
        """
        if name == "pos_embed" or name.startswith(("patch_embed", "blocks1.", "blocks2.")):
            return 0
        if name.startswith("blocks3."):
            return int(name.split(".")[1]) + 1
        return self.num_layers + 1

    def _encode_conv_stages(
        self, images: Tensor, mask: PatchMask
    ) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
        """Stages 1 and 2 of the visible patches, the input of stage 3, and (rows, columns)."""
        blocks: Iterable[Any] = self.blocks3
        positions = [self.global_position, *(b.attn.relative_position for b in blocks)]
        if any(positions) or any(block.window_size for block in blocks):
            raise ValueError(
                "encode_visible needs a ConvViT without windows and relative positions: remove "
                "window_size and relative_position from the backbone for pretraining"
            )
        patches = patchify(images, self.patch_size)
        mask.check_fits(*patches.shape[:2])
        grid = (images.shape[2] // self.patch_size, images.shape[3] // self.patch_size)
        placements = (VisiblePatches(mask.visible_idx, grid, side) for side in self.stage_sides)
        pixels = mask.gather_visible(patches).permute(0, 1, 3, 4, 2)
        stage1, stage2 = self._conv_stages(pixels, *placements)
        tokens = self.patch_embed4(self.patch_embed3(stage2)).flatten(1, 3)
        pos_embed = self._patch_pos_embed(grid).expand(len(mask.mask), -1, -1)
        return stage1, stage2, tokens + gather_tokens(pos_embed, mask.visible_idx), grid

    def _conv_stages(
        self, pixels: Tensor, placement1: Placement, placement2: Placement
    ) -> tuple[Tensor, Tensor]:
        """Pixels (..., H, W, 3) -> tokens (..., H', W', C) of stages 1 and 2."""
        stage1 = self.patch_embed1(pixels)
        for block in self.blocks1:
            stage1 = run_block(block, stage1, placement1, with_cp=self.with_cp)
        stage2 = self.patch_embed2(stage1)
        for block in self.blocks2:
            stage2 = run_block(block, stage2, placement2, with_cp=self.with_cp)
        return stage1, stage2

    def _attention_stage(self, tokens: Tensor, grid: tuple[int, int]) -> list[Tensor]:
        """Stage 3 on tokens (B, N, C): its input, then the output of each block."""
        global_bias = window_bias = None
        if self.global_position is not None:
            global_bias = cast_to_autocast(self.global_position.bias(grid))
        if self.window_position is not None:
            window_bias = cast_to_autocast(self.window_position.bias(self.window_position.grid))
        layers = [tokens]
        for block in self.blocks3:
            bias = global_bias if block.window_size is None else window_bias
            layers.append(run_block(block, layers[-1], grid, bias, with_cp=self.with_cp))
        return layers

    def _patch_pos_embed(self, grid: tuple[int, int]) -> Tensor:
        return resample_abs_pos_embed(self.pos_embed, self.grid_size, grid)


def _block_position(kind: str | None, grid: tuple[int, int], dim: int, heads: int) -> nn.Module | None:
    """The relative position of one block; None if it has none, or shares it."""
    if kind == "decomposed":
        return DecomposedRelativePosition(grid, dim // heads)
    if kind == "bias":
        return RelativePositionBias(grid, heads, with_cls_token=False)
    return None
