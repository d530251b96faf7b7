"""MAE's decoder: visible tokens and mask tokens through a few blocks to the hidden pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmim.layers.positions import sincos_2d
from mmmim.layers.tokens import hidden_indices, visible_indices
from mmmim.layers.transformer import Block, init_like_mae
from mmmim.registry import MODELS


@MODELS.register_module()
class PixelDecoder(nn.Module):
    """Predicts the pixels of hidden patches.

    Args:
        in_dims: width of the encoder's tokens.
        grid: (rows, columns) of patches.
        patch_size: side of a patch in pixels.
        embed_dims, depth, num_heads: sizes; 512/8/16 is MAE's (models_mae.py:24).
        with_cls_token: whether a class token comes in front of the patches.
    """

    def __init__(
        self,
        in_dims: int,
        grid: tuple[int, int],
        patch_size: int,
        embed_dims: int = 512,
        depth: int = 8,
        num_heads: int = 16,
        with_cls_token: bool = True,
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(in_dims, embed_dims)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dims))
        self.length, self.first = grid[0] * grid[1], int(with_cls_token)
        positions = F.pad(sincos_2d(embed_dims, grid), (0, 0, self.first, 0)).unsqueeze(0)
        self.pos_embed = nn.Parameter(positions, requires_grad=False)
        self.blocks = nn.ModuleList(Block(embed_dims, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dims, eps=1e-6)
        self.pred = nn.Linear(embed_dims, patch_size**2 * 3)
        init_like_mae(self)
        nn.init.normal_(self.mask_token, std=0.02)  # models_mae.py:81

    def forward(self, latent: Tensor, mask: Tensor) -> Tensor:
        """(B, [1 +] V, in_dims) and mask (B, L) -> (B, M, p * p * 3) for the hidden patches.

        From the last block's queries on, hidden tokens alone are computed; the loss reads no others.

        Raises:
            ValueError: the mask's length is not the grid's.
        """
        if mask.shape[1] != self.length:
            raise ValueError(
                f"the decoder is made for {self.length} patches, got a mask of "
                f"{mask.shape[1]}: pretrain at the backbone's img_size, or set img_size to yours"
            )
        tokens = self.embed(latent)
        cls, visible = tokens[:, : self.first], tokens[:, self.first :]
        count = visible.shape[1]
        index = visible_indices(mask, count).unsqueeze(-1).expand_as(visible)
        full = self.mask_token.to(tokens.dtype).repeat(*mask.shape, 1).scatter(1, index, visible)
        tokens = torch.cat([cls, full], dim=1) + self.pos_embed
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        hidden = self.first + hidden_indices(mask, self.length - count)
        return self.pred(self.norm(self.blocks[-1](tokens, at=hidden)))
