"""MixMIM's decoder (arXiv 2205.13137, section 3.2): both images out of one mixture."""

import torch
from torch import Tensor, nn

from mmmim.layers.positions import sincos_2d
from mmmim.layers.tokens import visible_first
from mmmim.layers.transformer import Block, init_like_mae
from mmmim.registry import MODELS


@MODELS.register_module()
class DualDecoder(nn.Module):
    """Takes a mixture apart, fills either image's gaps with mask tokens and predicts what was there.

    Sense-X/MixMIM models_mixmim.py:259-279, 385-406; every LayerNorm has eps 1e-5 there.

    Args:
        in_dims: width of the encoder's tokens.
        grid: (rows, columns) of patches.
        patch_size: side of a patch in pixels.
        embed_dims, depth, num_heads: sizes; 512/8/16 is the official one.
    """

    def __init__(
        self,
        in_dims: int,
        grid: tuple[int, int],
        patch_size: int,
        embed_dims: int = 512,
        depth: int = 8,
        num_heads: int = 16,
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(in_dims, embed_dims)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dims))
        positions = sincos_2d(embed_dims, grid).unsqueeze(0)
        self.pos_embed = nn.Parameter(positions, requires_grad=False)
        self.blocks = nn.ModuleList(Block(embed_dims, num_heads, eps=1e-5) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dims, eps=1e-5)
        self.pred = nn.Linear(embed_dims, patch_size**2 * 3)
        init_like_mae(self)
        nn.init.trunc_normal_(self.mask_token, std=0.02)  # models_mixmim.py:260

    def forward(self, latent: Tensor, mask: Tensor, hidden: int) -> tuple[Tensor, Tensor]:
        """Predict what the mixture does not show of either image.

        Args:
            latent: (B, L, in_dims) of the mixtures.
            mask: (1, L) bool, True where the partner is seen; `hidden` of them are True.

        Returns:
            (B, hidden, p * p * 3), the image's own patches where the partner is seen, and
            (B, L - hidden, p * p * 3), the partner's where the image itself is.

        Raises:
            ValueError: the mask's length is not the grid's.
        """
        if mask.shape[1] != self.pos_embed.shape[1]:
            raise ValueError(
                f"the decoder is made for {self.pos_embed.shape[1]} patches, got a mask of "
                f"{mask.shape[1]}: pretrain at the backbone's img_size, or set img_size to yours"
            )
        tokens = self.embed(latent)
        fill = self.mask_token.to(tokens.dtype)
        own = torch.where(mask.unsqueeze(-1), fill, tokens)
        partner = torch.where(mask.unsqueeze(-1), tokens, fill)
        tokens = torch.cat([own, partner]) + self.pos_embed
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        # From the last block's queries on, what the loss reads: each position of each image once.
        own, partner = tokens.chunk(2)
        order = visible_first(mask[0]).expand(len(own), -1)
        shown, last = mask.shape[1] - hidden, self.blocks[-1]
        own, partner = last(own, at=order[:, shown:]), last(partner, at=order[:, :shown])
        return self.pred(self.norm(own)), self.pred(self.norm(partner))
