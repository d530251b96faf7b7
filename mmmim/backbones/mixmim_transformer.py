"""MixMIM's encoder (arXiv 2205.13137): four stages of window attention, on mixed or on plain images."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmim.backbones.arch import resolve_arch, run_block
from mmmim.layers.patch_embed import MergePatches, NormedPatchEmbed
from mmmim.layers.positions import resize_positions, sincos_2d
from mmmim.layers.tokens import at_scale
from mmmim.layers.transformer import init_like_mae
from mmmim.layers.window_block import MixedGroups, MixedWindows, Neighbourhood, WindowBlock, Windows
from mmmim.registry import MODELS

# models_mixmim.py:441-485
SIZES = {
    "base": dict(embed_dims=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
    "large": dict(embed_dims=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48)),
    "huge": dict(embed_dims=352, depths=(2, 2, 18, 2), num_heads=(11, 22, 44, 88)),
}


@MODELS.register_module()
class MixMIMTransformer(BaseModule):
    """A Swin-like transformer without shifted windows. Parameter names are the official ones.

    Every LayerNorm has eps 1e-5.

    Args:
        arch: a name in SIZES, or a dict with embed_dims (of the first stage, doubled by each next),
            depths and num_heads (four each).
        img_size: side of the images that `absolute_pos_embed` is made for, in pixels.
        patch_size: side of a first-stage token, in pixels; the last stage's stride is 8 times that.
        window_sizes: side of the attention windows of each stage, in its tokens.
        out_indices: stages whose normed maps `forward` returns. Pretraining has a norm on the last
            alone; those of other stages start anew.
        drop_path_rate: of the last block; grows linearly from 0 over the blocks of all stages.
        with_cp: recompute each block in the backward pass, to save memory.
        init_cfg: `dict(type="mmmim.PretrainedBackbone", checkpoint=...)` for transfer.

    Raises:
        ValueError: an unknown `arch`, an `img_size` that the last stride does not divide, a stage
            outside 0..3.
    """

    def __init__(
        self,
        arch: str | dict = "base",
        img_size: int = 224,
        patch_size: int = 4,
        window_sizes: tuple[int, int, int, int] = (14, 14, 14, 7),
        out_indices: tuple[int, ...] = (3,),
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | None = None,
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
            raise ValueError(
                f"window_sizes must have one side for each of 4 stages, got {window_sizes}"
            )
        self.stage_dims, self.embed_dims = tuple(dims), dims[3]
        self.depths, self.num_layers = tuple(depths), sum(depths)
        self.img_size, self.patch_size = img_size, stride
        self.grid = (img_size // stride, img_size // stride)
        self.fine_grid = (img_size // patch_size, img_size // patch_size)
        # A window is never larger than its stage's map at img_size (models_mixmim.py:105-107).
        sides = [self.fine_grid[0] // 2**i for i in range(4)]
        self.window_sizes = tuple(min(w, s) for w, s in zip(window_sizes, sides, strict=True))
        self.out_indices = tuple(sorted(out_indices))
        self.with_cp = with_cp

        self.patch_embed = NormedPatchEmbed(patch_size, dims[0])
        self.absolute_pos_embed = nn.Parameter(
            sincos_2d(dims[0], self.fine_grid).unsqueeze(0), requires_grad=False
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
                stage.downsample = MergePatches(dims[i])
            self.layers.append(stage)
        for i in self.out_indices:
            # The last stage's is pretraining's.
            self.add_module("norm" if i == 3 else f"norm{i}", nn.LayerNorm(dims[i], eps=1e-5))
        self._init_like_official()

    def _init_like_official(self) -> None:
        """models_mixmim.py:63 and 281-303: Linear Xavier, tables normal, the rest as torch's."""
        init_like_mae(self)
        for stage in self.layers:
            for block in stage.blocks:
                nn.init.trunc_normal_(block.attn.relative_position.table, std=0.02)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) of any size -> normed maps (B, C_i, H_i, W_i) per `out_indices`.

        Strides 4, 8, 16, 32. Images, windows and merged squares are padded with zeros at the bottom and
        right; a map smaller than a window is one smaller window.
        """
        p = self.patch_embed.patch_size
        images = F.pad(images, (0, -images.shape[-1] % p, 0, -images.shape[-2] % p))
        tokens = self.patch_embed(images)
        grid = tuple(tokens.shape[1:3])
        tokens = tokens.flatten(1, 2) + self._positions(grid)
        maps = []
        for i, stage in enumerate(self.layers):
            tokens = self._run(stage, tokens, Windows(grid, self.window_sizes[i]))
            if i in self.out_indices:
                norm = self.norm if i == 3 else getattr(self, f"norm{i}")
                maps.append(norm(tokens).transpose(1, 2).unflatten(2, grid).contiguous())
            if i < len(self.layers) - 1:
                merged = stage.downsample(tokens.unflatten(1, grid))
                grid, tokens = tuple(merged.shape[1:3]), merged.flatten(1, 2)
        return tuple(maps)

    def encode_visible(self, images: Tensor, mask: Tensor, hidden: int | None = None) -> Tensor:
        """Encode every image mixed with its partner, the one at the same place from the batch's end.

        What a mask hides of an image is filled with the partner, so that nothing is computed in vain;
        tokens of either attend to their own kind.

        Args:
            images: (B, 3, H, W), sides multiples of the stride.
            mask: (1, L) bool, True where the partner is seen, for the whole batch.
            hidden: how many are True; where it is left out, the mask is asked, which waits for a GPU.

        Returns:
            (B, L, D), normed.

        Raises:
            ValueError: the image size is not a multiple of the stride, the mask does not fit, or a
                stage's windows do not divide its map.
        """
        return self.norm(self._mixed_states(images, mask, hidden)[-1])

    def mixed_states(self, images: Tensor, mask: Tensor, hidden: int | None = None) -> list[Tensor]:
        """As `encode_visible`, of a model whose last stage is the third (`out_indices=(2,)`).

        (B, 4 * L, C3) after each of its blocks, row-major at stride 16; the last is normed.
        """
        *states, last = self._mixed_states(images, mask, hidden)
        return [*states, self.norm2(last)]

    def layer_of(self, name: str) -> int:
        """Depth of a parameter, for layer-wise decay (util/lr_decay.py:61-77).

        0 embeddings, then the blocks of all stages in a row; a downsampling counts with the block that
        follows it, and the last norm with the last block.
        """
        if name == "absolute_pos_embed" or name.startswith("patch_embed."):
            return 0
        if not name.startswith("layers."):
            return self.num_layers
        _, stage, part, *rest = name.split(".")
        if part == "downsample":
            return sum(self.depths[: int(stage) + 1]) + 1
        return sum(self.depths[: int(stage)]) + int(rest[0]) + 1

    def _mixed_states(self, images: Tensor, mask: Tensor, hidden: int | None) -> list[Tensor]:
        """The last stage's tokens after each of its blocks, row-major."""
        tokens, grid = self._mix(images, mask)
        coarse = (grid[0] // 8, grid[1] // 8)
        hidden = int(mask.sum()) if hidden is None else hidden
        *first, last = range(len(self.layers))
        for i in first:
            around = self._mixed_neighbourhood(mask, hidden, coarse, i)
            tokens = around.restore(self._run(self.layers[i], around.sort(tokens), around))
            merged = self.layers[i].downsample(tokens.unflatten(1, grid))
            grid, tokens = tuple(merged.shape[1:3]), merged.flatten(1, 2)
        around = self._mixed_neighbourhood(mask, hidden, coarse, last)
        tokens, states = around.sort(tokens), []
        for block in self.layers[last].blocks:
            tokens = run_block(block, tokens, around, with_cp=self.with_cp)
            states.append(around.restore(tokens))
        return states

    def _mix(self, images: Tensor, mask: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """The first stage's input (B, H * W, C), and (H, W)."""
        stride = self.patch_size
        if images.shape[2] % stride or images.shape[3] % stride:
            raise ValueError(
                f"the image size must be a multiple of the stride {stride}, "
                f"got {images.shape[2]}x{images.shape[3]}; resize or crop to one"
            )
        coarse = (images.shape[2] // stride, images.shape[3] // stride)
        if mask.shape != (1, coarse[0] * coarse[1]):
            raise ValueError(
                f"mask must have shape {(1, coarse[0] * coarse[1])}, one for the batch, "
                f"got {tuple(mask.shape)}"
            )
        tokens = self.patch_embed(images)
        grid = tuple(tokens.shape[1:3])
        tokens = tokens.flatten(1, 2)
        partner = at_scale(mask, coarse, 8)
        return torch.where(partner[:, None], tokens.flip(0), tokens) + self._positions(grid), grid

    def _mixed_neighbourhood(
        self, mask: Tensor, hidden: int, coarse: tuple[int, int], index: int
    ) -> MixedGroups | MixedWindows:
        scale, window = 2 ** (3 - index), self.window_sizes[index]
        partner, grid = at_scale(mask, coarse, scale), (coarse[0] * scale, coarse[1] * scale)
        if max(grid) <= window:
            return MixedGroups(partner, hidden * scale**2, grid, window)
        if grid[0] % window or grid[1] % window:
            raise ValueError(
                f"stage {index + 1} has {grid[0]}x{grid[1]} tokens, which windows of {window} do not "
                f"divide: pretrain at another image size, or set window_sizes[{index}] to a divisor"
            )
        return MixedWindows(partner, grid, window)

    def _run(self, stage: nn.Module, tokens: Tensor, neighbourhood: Neighbourhood) -> Tensor:
        for block in stage.blocks:
            tokens = run_block(block, tokens, neighbourhood, with_cp=self.with_cp)
        return tokens

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        return resize_positions(self.absolute_pos_embed, self.fine_grid, grid)
