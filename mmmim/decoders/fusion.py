"""ConvMAE's multi-scale fusion (arXiv 2205.03892, section 3.2): the early stages' view of a patch."""

from torch import Tensor, nn

from mmmim.layers.patch_embed import merge_tokens


class MultiScaleFusion(nn.Module):
    """Projects stages 1 and 2 to one token a patch, adds them to stage 3, then normalises.

    models_convmae.py:37-38, 170, 175 and 189-190 (`stage1_output_decode`, `stage2_output_decode`,
    `norm`). Transfer reads none of it.

    Args:
        stage_dims: widths of the three stages.
        sides: tokens along one side of a patch, in stages 1 and 2.
    """

    def __init__(self, stage_dims: tuple[int, int, int], sides: tuple[int, int]) -> None:
        super().__init__()
        self.stage1, self.stage2 = (
            nn.Conv2d(dim, stage_dims[2], kernel_size=side, stride=side)
            for dim, side in zip(stage_dims[:2], sides, strict=True)
        )
        self.norm = nn.LayerNorm(stage_dims[2], eps=1e-6)

    def forward(self, stages: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """(B, V, s, s, C1), (B, V, t, t, C2) and (B, V, C3) -> (B, V, C3)."""
        first, second, last = stages
        early = merge_tokens(first, self.stage1) + merge_tokens(second, self.stage2)
        return self.norm(last + early.flatten(1, 3))
