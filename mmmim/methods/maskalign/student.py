"""Student adapters of MaskAlign: a few patches of each image, or mixtures of two images."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmmim.backbones.base import MixedEncoder, VisibleEncoder
from mmmim.masking import (
    PatchMask,
    attentive_mask,
    mixing_mask,
    random_mask,
)
from mmmim.methods.maskalign.teacher import TeacherStates


class VisibleStudent:
    """A ViT or ConvViT that sees a few patches of each image.

    It holds no module: the backbone is passed to each call.

    Attributes:
        embed_dims, depth: of the aligned layers.
        grid_size: (rows, columns) of the aligned tokens.
        with_cls_token: whether a class token precedes them.
    """

    def __init__(self, backbone: VisibleEncoder) -> None:
        self.embed_dims, self.depth = backbone.embed_dims, backbone.num_layers
        self.grid_size = backbone.grid_size
        self.with_cls_token = getattr(backbone, "cls_token", None) is not None

    def draw_mask(self, images: Tensor, mask_ratio: float, importance: Tensor | None) -> PatchMask:
        """Attentive masks (B, L) if there is an importance (B, L), else uniform ones."""
        if importance is not None:
            return attentive_mask(importance, mask_ratio)
        length = self.grid_size[0] * self.grid_size[1]
        return random_mask(len(images), length, mask_ratio, images.device)

    def all_visible(self, images: Tensor) -> PatchMask:
        """An empty mask (B, L)."""
        length = self.grid_size[0] * self.grid_size[1]
        return PatchMask.all_visible(len(images), length, images.device)

    def encode_layers(self, backbone: VisibleEncoder, images: Tensor, mask: PatchMask) -> list[Tensor]:
        """Tokens (B, [1 +] V, D) after each block."""
        return backbone.encode_visible_layers(images, mask)

    def targets(self, teacher: TeacherStates, mask: PatchMask) -> list[Tensor]:
        """The tokens of each teacher layer at the patches that the student sees."""
        return teacher.targets(mask.visible_idx)


class MixedStudent:
    """A MixMIMTransformer that sees every image mixed with its partner, aligned at stride 16.

    Attributes and methods: as `VisibleStudent`, except that one mask (1, L) serves the whole batch.

    Raises:
        ValueError: the backbone does not end with stage 3.
    """

    def __init__(self, backbone: MixedEncoder) -> None:
        if backbone.out_indices != (2,):
            raise ValueError(
                "tokens are aligned at stride 16, so a fourth stage would not be trained: set the "
                f"backbone's out_indices to (2,), got {backbone.out_indices}"
            )
        self.embed_dims, self.depth = backbone.stage_dims[2], backbone.depths[2]
        self.mask_grid = backbone.grid_size
        self.grid_size = (2 * backbone.grid_size[0], 2 * backbone.grid_size[1])
        self.with_cls_token = False

    def draw_mask(self, images: Tensor, mask_ratio: float, importance: Tensor | None) -> PatchMask:
        """A mask (1, L), True where the partner is shown."""
        return mixing_mask(self.mask_grid[0] * self.mask_grid[1], mask_ratio, images.device)

    def all_visible(self, images: Tensor) -> PatchMask:
        """A mask (1, L) that shows no partner."""
        return PatchMask.all_visible(1, self.mask_grid[0] * self.mask_grid[1], images.device)

    def encode_layers(self, backbone: MixedEncoder, images: Tensor, mask: PatchMask) -> list[Tensor]:
        """Tokens (B, 4 * L, D) of the mixtures after each block of stage 3."""
        return backbone.encode_mixed_layers(images, mask)

    def targets(self, teacher: TeacherStates, mask: PatchMask) -> list[Tensor]:
        """The tokens of each teacher layer, taken at each place from the image that is shown there."""
        shows_partner = mask.upsample(self.mask_grid, 2)
        length = shows_partner.shape[1]
        all_patches = torch.arange(length, device=shows_partner.device).expand(teacher.batch, -1)
        shows_partner = F.pad(shows_partner, (int(teacher.with_cls_token), 0)).unsqueeze(-1)
        targets = teacher.targets(all_patches)
        return [torch.where(shows_partner, target.flip(0), target) for target in targets]
