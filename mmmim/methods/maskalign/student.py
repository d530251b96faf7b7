"""How MaskAlign's students look at images: a few patches of each, or mixtures of two."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmmim.layers.tokens import at_scale, visible_indices
from mmmim.masking import attentive_mask, count_visible, mixing_mask, random_mask
from mmmim.targets import TeacherStates


class Shown(NamedTuple):
    """A mask (B, L), True = hidden, and how many patches of each image are not."""

    mask: Tensor
    count: int


class VisibleStudent:
    """A ViT or ConvViT that sees a few patches of each image.

    Attributes:
        embed_dims, depth, grid, with_cls_token: of the tokens that are aligned.
    """

    def __init__(self, backbone: nn.Module) -> None:
        self.embed_dims, self.depth = backbone.embed_dims, backbone.num_layers
        self.grid = backbone.grid
        self.with_cls_token = getattr(backbone, "cls_token", None) is not None

    def draw_mask(self, images: Tensor, ratio: float, importance: Tensor | None) -> Shown:
        """Attentive where there is an importance, else random."""
        length = self.grid[0] * self.grid[1]
        count = count_visible(length, ratio)
        if importance is not None:
            return Shown(attentive_mask(importance, ratio), count)
        return Shown(random_mask(len(images), length, ratio, images.device), count)

    def hide_nothing(self, images: Tensor) -> Shown:
        """A mask that shows the student all patches."""
        length = self.grid[0] * self.grid[1]
        mask = torch.zeros(len(images), length, dtype=torch.bool, device=images.device)
        return Shown(mask, length)

    def states(self, backbone: nn.Module, images: Tensor, shown: Shown) -> list[Tensor]:
        """Tokens (B, [1 +] V, D) after each block."""
        return backbone.visible_states(images, *shown)

    def targets(self, teacher: TeacherStates, shown: Shown) -> list[Tensor]:
        """Of each layer of the teacher, its tokens where the student has its own."""
        return teacher.targets(visible_indices(*shown))

    def hidden(self, shown: Shown, batch: int) -> Tensor:
        """(B, L) bool, what is hidden of each image."""
        return shown.mask


class Mixture(NamedTuple):
    """A mask (1, L) for the batch, True where the partner is seen, and how many are True."""

    mask: Tensor
    count: int


class MixedStudent:
    """A MixMIMTransformer that sees every image mixed with its partner, by its tokens at stride 16.

    Attributes and methods: as `VisibleStudent`, on a `Mixture` in the place of what is `Shown`.
    """

    def __init__(self, backbone: nn.Module) -> None:
        if backbone.out_indices != (2,):
            raise ValueError(
                "tokens at stride 16 are aligned, and a fourth stage would learn nothing: set the "
                f"backbone's out_indices to (2,), got {backbone.out_indices}"
            )
        self.embed_dims, self.depth = backbone.stage_dims[2], backbone.depths[2]
        self.coarse = backbone.grid
        self.grid = (2 * backbone.grid[0], 2 * backbone.grid[1])
        self.with_cls_token = False

    def draw_mask(self, images: Tensor, ratio: float, importance: None) -> Mixture:
        return Mixture(*mixing_mask(self.coarse[0] * self.coarse[1], ratio, images.device))

    def hide_nothing(self, images: Tensor) -> Mixture:
        length = self.coarse[0] * self.coarse[1]
        return Mixture(torch.zeros(1, length, dtype=torch.bool, device=images.device), 0)

    def states(self, backbone: nn.Module, images: Tensor, mixture: Mixture) -> list[Tensor]:
        """Tokens (B, 4 * L, D) of the mixtures after each block of the third stage."""
        return backbone.mixed_states(images, *mixture)

    def targets(self, teacher: TeacherStates, mixture: Mixture) -> list[Tensor]:
        """Of each layer of the teacher, its tokens of the image that is seen in each place."""
        partner = at_scale(mixture.mask, self.coarse, 2)
        every = torch.arange(len(partner), device=partner.device)
        first = int(teacher.with_cls_token)
        partner = torch.nn.functional.pad(partner, (first, 0))[:, None]
        targets = teacher.targets(every.expand(teacher.batch, -1))
        return [torch.where(partner, t.flip(0), t) for t in targets]

    def hidden(self, mixture: Mixture, batch: int) -> Tensor:
        return mixture.mask.expand(batch, -1)
