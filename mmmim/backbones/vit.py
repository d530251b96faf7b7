"""The plain vision transformer (arXiv 2010.11929): MAE's encoder, ViTDet's and UperNet's backbone."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmim.backbones.base import resolve_arch, run_block
from mmmim.deprecation import renamed_arguments
from mmmim.layers.attention import DecomposedRelativePosition, RelativePositionBias
from mmmim.layers.block import Block, init_like_mae
from mmmim.layers.tokens import PatchEmbed, gather_tokens, patchify, resample_abs_pos_embed, sincos_2d
from mmmim.masking import PatchMask, as_patch_mask
from mmmim.registry import MODELS

SIZES = {
    "tiny": dict(embed_dims=192, depth=12, num_heads=3),
    "small": dict(embed_dims=384, depth=12, num_heads=6),
    "base": dict(embed_dims=768, depth=12, num_heads=12),
    "large": dict(embed_dims=1024, depth=24, num_heads=16),
    "huge": dict(embed_dims=1280, depth=32, num_heads=16),
}


@MODELS.register_module()
class ViT(BaseModule):
    """A plain ViT. Parameter names are timm's, so official MAE weights load unchanged.

    The defaults are those of pretraining. ViTDet sets `with_cls_token=False, final_norm=False,
    window_size=14, global_blocks=(2, 5, 8, 11), relative_position="decomposed"`; the UperNet recipe
    `final_norm=False, relative_position="bias", layer_scale=1.0, out_indices=(3, 5, 7, 11)`.

    Args:
        arch: a name in SIZES, or a dict with embed_dims, depth, num_heads (and mlp_ratio, default 4).
        img_size: side in pixels of the images that the position table `pos_embed` is made for.
        patch_size: side of a patch in pixels.
        out_indices: blocks whose output `forward` returns; -1 is the last.
        with_cls_token: whether a class token precedes the patches.
        final_norm: whether the output of the last block is normalized.
        learnable_pos_embed: whether `pos_embed` is trained; MAE freezes it, ViTDet and UperNet train
            it.
        window_size: side of the attention windows in patches; None for global attention everywhere.
        global_blocks: blocks with global attention although `window_size` is set.
        relative_position: "decomposed" (`DecomposedRelativePosition`), "bias"
            (`RelativePositionBias`) or None.
        relative_position_size: side in pixels of the images that the tables of global blocks are
            made for.
        layer_scale: initial LayerScale, None for none.
        drop_path_rate: of the last block; grows linearly from 0 at the first block.
        with_cp: recompute each block in the backward pass to save memory.
        init_cfg: `dict(type="mmmim.PretrainedBackbone", checkpoint=...)` for transfer.

    Raises:
        ValueError: an unknown `arch` or `relative_position`; an `img_size` that is not a multiple of
            `patch_size`; an index outside the blocks; windows together with a class token.
    """

    @renamed_arguments(train_positions="learnable_pos_embed")
    def __init__(
        self,
        arch: str | dict[str, Any] = "base",
        img_size: int = 224,
        patch_size: int = 16,
        out_indices: tuple[int, ...] = (-1,),
        with_cls_token: bool = True,
        final_norm: bool = True,
        learnable_pos_embed: bool = False,
        window_size: int | None = None,
        global_blocks: tuple[int, ...] = (),
        relative_position: str | None = None,
        relative_position_size: int = 1024,
        layer_scale: float | None = None,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        size = {"mlp_ratio": 4.0, **resolve_arch(arch, SIZES)}
        if img_size % patch_size:
            raise ValueError(f"img_size must be a multiple of patch_size {patch_size}, got {img_size}")
        if not set(global_blocks) <= set(range(size["depth"])):
            raise ValueError(f"global_blocks must lie in 0..{size['depth'] - 1}, got {global_blocks}")
        if relative_position_size < patch_size:
            raise ValueError(
                f"relative_position_size must be an image side of at least {patch_size} pixels, "
                f"got {relative_position_size}"
            )
        if window_size is not None and with_cls_token:
            raise ValueError(
                "windows cannot hold a class token: set with_cls_token=False together with "
                f"window_size={window_size}"
            )
        depth, dim, heads = size["depth"], size["embed_dims"], size["num_heads"]
        self.embed_dims, self.num_layers, self.num_heads = dim, depth, heads
        self.img_size, self.patch_size = img_size, patch_size
        self.grid_size = (img_size // patch_size, img_size // patch_size)
        self.out_indices = _normalize_indices(out_indices, depth)
        self.with_cp = with_cp

        self.patch_embed = PatchEmbed(patch_size, dim)
        # Released weights have a row for the class token, so the table always has one.
        positions = F.pad(sincos_2d(dim, self.grid_size), (0, 0, 1, 0)).unsqueeze(0)
        self.pos_embed = nn.Parameter(positions, requires_grad=learnable_pos_embed)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if with_cls_token else None

        relative_grid = (relative_position_size // patch_size,) * 2
        drop_path = torch.linspace(0, drop_path_rate, depth).tolist()
        self.blocks = nn.ModuleList()
        for i in range(depth):
            window = None if i in global_blocks else window_size
            grid = relative_grid if window is None else (window, window)
            self.blocks.append(
                Block(
                    dim,
                    heads,
                    size["mlp_ratio"],
                    drop_path=drop_path[i],
                    layer_scale=layer_scale,
                    relative_position=_relative_position(relative_position, grid, dim, heads),
                    window_size=window,
                )
            )
        self.norm = nn.LayerNorm(dim, eps=1e-6) if final_norm else nn.Identity()

        init_like_mae(self)
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=0.02)  # models_mae.py:80

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) of any size -> a map (B, D, ceil(H / p), ceil(W / p)) per `out_indices`.

        Images are zero-padded at the bottom and right to whole patches.
        """
        p = self.patch_size
        images = F.pad(images, (0, -images.shape[-1] % p, 0, -images.shape[-2] % p))
        tokens = self.patch_embed(images)
        grid = tuple(tokens.shape[1:3])
        tokens = self._prepend_cls_token(tokens.flatten(1, 2) + self._patch_pos_embed(grid))

        maps = []
        for i, block in enumerate(self.blocks):
            tokens = run_block(block, tokens, grid, with_cp=self.with_cp)
            if i in self.out_indices:
                out = self.norm(tokens) if i == self.num_layers - 1 else tokens
                out = out[:, -grid[0] * grid[1] :]  # without the class token
                maps.append(out.transpose(1, 2).unflatten(2, grid).contiguous())
            if i == self.out_indices[-1]:
                break
        return tuple(maps)

    def encode_visible(self, images: Tensor, mask: PatchMask | Tensor) -> Tensor:
        """The last of `encode_visible_layers`, normalized: (K * B, [1 +] V, D)."""
        return self.norm(self.encode_visible_layers(images, mask)[-1])

    def encode_visible_layers(self, images: Tensor, mask: PatchMask | Tensor) -> list[Tensor]:
        """Encode the visible patches alone: the cost is proportional to V.

        Args:
            images: (B, 3, H, W), sides multiples of the patch size.
            mask: a `PatchMask` of K * B masks (K masks per image, one batch after another), or a bool
                tensor (K * B, L), True = masked.

        Returns:
            (K * B, [1 +] V, D) after each block: the class token, then the visible patches in
            row-major order.

        Raises:
            ValueError: the model has windows or relative positions; the image size is not a multiple
                of the patch size; the mask does not fit.
        """
        blocks: Iterable[Any] = self.blocks
        if any(b.window_size or b.attn.relative_position for b in blocks):
            raise ValueError(
                "encode_visible needs a ViT without windows and relative positions: remove window_size "
                "and relative_position from the backbone for pretraining"
            )
        mask = as_patch_mask(mask)
        patches = patchify(images, self.patch_size)
        mask.check_fits(*patches.shape[:2])
        grid = (images.shape[2] // self.patch_size, images.shape[3] // self.patch_size)
        pos_embed = self._patch_pos_embed(grid).expand(len(mask.mask), -1, -1)
        tokens = self.patch_embed.embed(mask.gather_visible(patches))
        tokens = self._prepend_cls_token(tokens + gather_tokens(pos_embed, mask.visible_idx))
        layers = []
        for block in self.blocks:
            tokens = run_block(block, tokens, grid, with_cp=self.with_cp)
            layers.append(tokens)
        return layers

    def get_layer_depth(self, name: str) -> int:
        """Depth of a parameter for layer-wise decay: 0 embeddings, i + 1 block i, then the rest.

        facebookresearch/mae util/lr_decay.py:64-76; detectron2 get_vit_lr_decay_rate.
        """
        if name in ("cls_token", "pos_embed") or name.startswith("patch_embed"):
            return 0
        if name.startswith("blocks."):
            return int(name.split(".")[1]) + 1
        return self.num_layers + 1

    def _patch_pos_embed(self, grid: tuple[int, int]) -> Tensor:
        return resample_abs_pos_embed(self.pos_embed[:, 1:], self.grid_size, grid)

    def _prepend_cls_token(self, tokens: Tensor) -> Tensor:
        if self.cls_token is None:
            return tokens
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        return torch.cat([cls.to(tokens.dtype), tokens], dim=1)


def _normalize_indices(indices: tuple[int, ...], depth: int) -> tuple[int, ...]:
    if not indices or not all(-depth <= i < depth for i in indices):
        raise ValueError(f"out_indices must name blocks of a {depth}-block model, got {indices}")
    return tuple(sorted(i % depth for i in indices))


def _relative_position(
    kind: str | None, grid: tuple[int, int], dim: int, heads: int
) -> nn.Module | None:
    if kind is None:
        return None
    if kind == "decomposed":
        return DecomposedRelativePosition(grid, dim // heads)
    if kind == "bias":
        return RelativePositionBias(grid, heads)
    raise ValueError(f"relative_position must be 'decomposed', 'bias' or None, got '{kind}'")
