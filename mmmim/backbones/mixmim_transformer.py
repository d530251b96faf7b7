"""MixMIM's encoder (arXiv 2205.13137): four stages of window attention, on mixed or plain images."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmim.backbones.base import resolve_arch, run_block
from mmmim.backbones.mixed_windows import (
    MixedGroups,
    MixedWindows,
    Neighborhood,
    WindowBlock,
    Windows,
)
from mmmim.layers.block import init_like_mae
from mmmim.layers.tokens import PatchEmbed, resample_abs_pos_embed, sincos_2d
from mmmim.masking import PatchMask, as_patch_mask
from mmmim.registry import MODELS

# models_mixmim.py:441-485
SIZES = {
    "base": dict(embed_dims=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
    "large": dict(embed_dims=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48)),
    "huge": dict(embed_dims=352, depths=(2, 2, 18, 2), num_heads=(11, 22, 44, 88)),
}


class NormedPatchEmbed(PatchEmbed):
    """Patch embedding, then LayerNorm (timm's PatchEmbed with a norm)."""

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__(patch_size, dim)
        self.proj.reset_parameters()  # MixMIM keeps torch's default, models_mixmim.py:281-303
        self.norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, H / p, W / p, D).

        The residual stream starts here. It stays in float32 under autocast, because half precision
        loses small terms of its sum over the depth.
        """
        return self.norm(super().forward(images).to(self.norm.weight.dtype))


class PatchMerging(nn.Module):
    """Merge squares of 2 x 2 tokens into one token of twice the width (Swin), in timm's order.

    Args:
        dim: width of the incoming tokens.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim, eps=1e-5)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, ceil(H / 2), ceil(W / 2), 2 C), zero-padded where a side is odd.

        The tokens of a square are column-major (timm models/swin_transformer.py, PatchMerging). The
        result starts a residual stream in float32, see `NormedPatchEmbed`.
        """
        tokens = F.pad(tokens, (0, 0, 0, tokens.shape[2] % 2, 0, tokens.shape[1] % 2))
        squares = tokens.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, H/2, 2, W/2, 2, C)
        merged = self.reduction(self.norm(squares.permute(0, 1, 3, 4, 2, 5).flatten(3)))
        return merged.to(self.norm.weight.dtype)


@MODELS.register_module()
class MixMIMTransformer(BaseModule):
    """A Swin-like transformer without shifted windows. Parameter names are the official ones.

    Every LayerNorm has eps 1e-5.

    Args:
        arch: a name in SIZES, or a dict with embed_dims (of the first stage, doubled by each next
            stage), depths and num_heads (four each).
        img_size: side in pixels of the images that `absolute_pos_embed` is made for.
        patch_size: side of a first-stage token in pixels; the last stage's stride is 8 times that.
        window_sizes: side of the attention windows of each stage, in its tokens.
        out_indices: stages whose normalized maps `forward` returns. Pretraining has a norm on the last
            stage alone; norms of other stages are newly initialized.
        drop_path_rate: of the last block; grows linearly from 0 over the blocks of all stages.
        with_cp: recompute each block in the backward pass to save memory.
        init_cfg: `dict(type="mmmim.PretrainedBackbone", checkpoint=...)` for transfer.

    Raises:
        ValueError: an unknown `arch`; an `img_size` that is not a multiple of the last stride; a stage
            outside 0..3.
    """

    def __init__(
        self,
        arch: str | dict[str, Any] = "base",
        img_size: int = 224,
        patch_size: int = 4,
        window_sizes: tuple[int, int, int, int] = (14, 14, 14, 7),
        out_indices: tuple[int, ...] = (3,),
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        size = resolve_arch(arch, SIZES)
        depths, heads = size["depths"], size["num_heads"]
        dims = [size["embed_dims"] * 2**i for i in range(4)]
        stride = patch_size * 8
        if img_size % stride:
            raise ValueError(f"img_size must be a multiple of the stride {stride}, got {img_size}")
        if not out_indices or not set(out_indices) <= {0, 1, 2, 3}:
            raise ValueError(f"out_indices must be among 0, 1, 2 and 3, got {out_indices}")
        if len(window_sizes) != 4:
            raise ValueError(f"window_sizes must have one side per stage, so four, got {window_sizes}")
        self.stage_dims, self.embed_dims = tuple(dims), dims[3]
        self.depths, self.num_layers = tuple(depths), sum(depths)
        self.img_size, self.patch_size = img_size, stride
        self.grid_size = (img_size // stride, img_size // stride)
        self.stem_grid_size = (img_size // patch_size, img_size // patch_size)
        # A window is never larger than its stage's map at img_size (models_mixmim.py:105-107).
        sides = [self.stem_grid_size[0] // 2**i for i in range(4)]
        self.window_sizes = tuple(min(w, s) for w, s in zip(window_sizes, sides, strict=True))
        self.out_indices = tuple(sorted(out_indices))
        self.with_cp = with_cp

        self.patch_embed = NormedPatchEmbed(patch_size, dims[0])
        self.absolute_pos_embed = nn.Parameter(
            sincos_2d(dims[0], self.stem_grid_size).unsqueeze(0), requires_grad=False
        )
        rates = iter(torch.linspace(0, drop_path_rate, sum(depths)).tolist())
        self.layers = nn.ModuleList()
        for i in range(self.out_indices[-1] + 1):
            stage = nn.Module()
            stage.blocks = nn.ModuleList(
                WindowBlock(dims[i], heads[i], self.window_sizes[i], drop_path=next(rates))
                for _ in range(depths[i])
            )
            if i < self.out_indices[-1]:
                stage.downsample = PatchMerging(dims[i])
            self.layers.append(stage)
        for i in self.out_indices:
            # Pretraining's name for the norm of the last stage is plain `norm`.
            self.add_module("norm" if i == 3 else f"norm{i}", nn.LayerNorm(dims[i], eps=1e-5))
        self._init_like_official()

    def _init_like_official(self) -> None:
        """models_mixmim.py:63 and 281-303: Xavier for Linear, normal for tables, else torch's."""
        init_like_mae(self)
        stages: Iterable[Any] = self.layers
        for stage in stages:
            for block in stage.blocks:
                nn.init.trunc_normal_(block.attn.relative_position.table, std=0.02)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) of any size -> normalized maps (B, C_i, H_i, W_i) per `out_indices`.

        Strides 4, 8, 16, 32. Images, windows and merged squares are zero-padded at the bottom and
        right; a map smaller than a window is one smaller window.
        """
        p = self.patch_embed.patch_size
        images = F.pad(images, (0, -images.shape[-1] % p, 0, -images.shape[-2] % p))
        tokens = self.patch_embed(images)
        grid = tuple(tokens.shape[1:3])
        tokens = tokens.flatten(1, 2) + self._patch_pos_embed(grid)
        maps = []
        stages: Iterable[Any] = self.layers
        for i, stage in enumerate(stages):
            tokens = self._run_stage(stage, tokens, Windows(grid, self.window_sizes[i]))
            if i in self.out_indices:
                norm = self.norm if i == 3 else getattr(self, f"norm{i}")
                maps.append(norm(tokens).transpose(1, 2).unflatten(2, grid).contiguous())
            if i < len(self.layers) - 1:
                merged = stage.downsample(tokens.unflatten(1, grid))
                grid, tokens = tuple(merged.shape[1:3]), merged.flatten(1, 2)
        return tuple(maps)

    def encode_mixed(self, images: Tensor, mask: PatchMask | Tensor) -> Tensor:
        """Encode every image mixed with its partner, the image at the mirrored place in the batch.

        Masked patches of an image are replaced by the partner's, so every token carries an image.
        Tokens attend only to tokens of the same image.

        Args:
            images: (B, 3, H, W), sides multiples of the stride.
            mask: (1, L) `PatchMask` or bool tensor for the whole batch, True where the partner is
                shown.

        Returns:
            (B, L, D), normalized.

        Raises:
            ValueError: the image size is not a multiple of the stride; the mask does not fit; the
                windows of a stage do not divide its map.
        """
        return self.norm(self._mixed_layers(images, as_patch_mask(mask))[-1])

    def encode_mixed_layers(self, images: Tensor, mask: PatchMask | Tensor) -> list[Tensor]:
        """As `encode_mixed`, of a model that ends with the third stage (`out_indices=(2,)`).

        (B, 4 * L, C3) after each block of that stage, row-major at stride 16; the last is normalized.
        """
        *layers, last = self._mixed_layers(images, as_patch_mask(mask))
        return [*layers, self.norm2(last)]

    def get_layer_depth(self, name: str) -> int:
        """Depth of a parameter for layer-wise decay (util/lr_decay.py:61-77).

        0 embeddings, then the blocks of all stages in sequence. A downsampling belongs to the block
        after it, the last norm to the last block.
        """
        if name == "absolute_pos_embed" or name.startswith("patch_embed."):
            return 0
        if not name.startswith("layers."):
            return self.num_layers
        _, stage, part, *rest = name.split(".")
        if part == "downsample":
            return sum(self.depths[: int(stage) + 1]) + 1
        return sum(self.depths[: int(stage)]) + int(rest[0]) + 1

    def _mixed_layers(self, images: Tensor, mask: PatchMask) -> list[Tensor]:
        """Tokens after each block of the last stage, row-major."""
        tokens, grid = self._mix(images, mask)
        coarse = (grid[0] // 8, grid[1] // 8)
        stages: list[Any] = list(self.layers)
        for i, stage in enumerate(stages[:-1]):
            around = self._mixed_neighborhood(mask, coarse, i)
            tokens = around.restore(self._run_stage(stage, around.sort(tokens), around))
            merged = stage.downsample(tokens.unflatten(1, grid))
            grid, tokens = tuple(merged.shape[1:3]), merged.flatten(1, 2)
        around = self._mixed_neighborhood(mask, coarse, len(stages) - 1)
        tokens, layers = around.sort(tokens), []
        for block in stages[-1].blocks:
            tokens = run_block(block, tokens, around, with_cp=self.with_cp)
            layers.append(around.restore(tokens))
        return layers

    def _mix(self, images: Tensor, mask: PatchMask) -> tuple[Tensor, tuple[int, int]]:
        """The input of the first stage (B, H * W, C), and (H, W)."""
        stride = self.patch_size
        if images.shape[2] % stride or images.shape[3] % stride:
            raise ValueError(
                f"the image size must be a multiple of the stride {stride}, "
                f"got {images.shape[2]}x{images.shape[3]}: resize or crop to one"
            )
        coarse = (images.shape[2] // stride, images.shape[3] // stride)
        if mask.mask.shape != (1, coarse[0] * coarse[1]):
            raise ValueError(
                f"the mask must have shape {(1, coarse[0] * coarse[1])}, one for the whole batch, "
                f"got {tuple(mask.mask.shape)}"
            )
        tokens = self.patch_embed(images)
        grid = tuple(tokens.shape[1:3])
        tokens = tokens.flatten(1, 2)
        partner = mask.upsample(coarse, 8).unsqueeze(-1)
        return torch.where(partner, tokens.flip(0), tokens) + self._patch_pos_embed(grid), grid

    def _mixed_neighborhood(
        self, mask: PatchMask, coarse: tuple[int, int], index: int
    ) -> MixedGroups | MixedWindows:
        scale, window = 2 ** (3 - index), self.window_sizes[index]
        grid = (coarse[0] * scale, coarse[1] * scale)
        if max(grid) <= window:
            if scale > 1:
                fine = mask.upsample(coarse, scale)
                mask = PatchMask.from_draw(fine, mask.num_visible * scale**2)
            return MixedGroups(mask, grid, window)
        if grid[0] % window or grid[1] % window:
            raise ValueError(
                f"stage {index + 1} has {grid[0]}x{grid[1]} tokens, which windows of {window} do not "
                f"divide: pretrain at another image size, or set window_sizes[{index}] to a divisor"
            )
        return MixedWindows(mask.upsample(coarse, scale)[0], grid, window)

    def _run_stage(self, stage: Any, tokens: Tensor, neighborhood: Neighborhood) -> Tensor:
        for block in stage.blocks:
            tokens = run_block(block, tokens, neighborhood, with_cp=self.with_cp)
        return tokens

    def _patch_pos_embed(self, grid: tuple[int, int]) -> Tensor:
        return resample_abs_pos_embed(self.absolute_pos_embed, self.stem_grid_size, grid)
