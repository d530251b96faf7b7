"""Patch masks: `PatchMask`, and the draws of every method.

All draws come from the global generator of the device. With several processes, each process draws the
noise of the global batch and takes the rows of its own samples (sample j of rank r is row
j * world_size + r, as the samplers deal them). Processes with equal seeds therefore draw the masks
that one process with the whole batch would draw. `mixing_mask` is the exception: it draws one mask per
process.
"""

from dataclasses import dataclass

import torch
from mmengine.dist import get_rank, get_world_size
from torch import Tensor

from mmmim.layers.tokens import gather_patches


@dataclass(frozen=True)
class PatchMask:
    """The masked and the visible patches of a batch, sorted once.

    Several masks per image (FastConvMAE) stand one batch after another: row i masks image i % B.
    MixMIM has one row for the whole batch.

    Attributes:
        mask: (N, L) bool, True = masked, in row-major patch order.
        visible_idx: (N, V) int64, positions of the visible patches, ascending.
        masked_idx: (N, M) int64, positions of the masked patches, ascending.
    """

    mask: Tensor
    visible_idx: Tensor
    masked_idx: Tensor

    @classmethod
    def from_draw(cls, mask: Tensor, num_visible: int) -> "PatchMask":
        """Sort (N, L) bool, of which every row has `num_visible` False; not checked, so no sync."""
        # A stable sort of False before True keeps row-major order in either part.
        order = mask.to(torch.uint8).argsort(dim=-1, stable=True)
        return cls(mask, order[:, :num_visible], order[:, num_visible:])

    @classmethod
    def from_tensor(cls, mask: Tensor) -> "PatchMask":
        """Sort any (N, L) bool, True = masked. Forces a host-device sync to count the visible patches.

        Raises:
            ValueError: not bool, or not of shape (N, L); rows differ in their number of visible
                patches, or have none.
        """
        if mask.dtype != torch.bool:
            raise ValueError(
                f"a mask must be bool, True = masked, got {mask.dtype}: convert a mask of 0 and 1 with "
                "mask.bool()"
            )
        if mask.dim() != 2:
            raise ValueError(f"a mask must have shape (batch, patches), got {tuple(mask.shape)}")
        visible = (~mask).sum(dim=1)
        fewest, most = int(visible.min()), int(visible.max())
        if fewest != most or fewest == 0:
            raise ValueError(
                "every sample must keep the same, non-zero number of visible patches, got between "
                f"{fewest} and {most} of {mask.shape[1]}. Lower mask_ratio, or draw the mask with a "
                "function of mmmim.masking"
            )
        return cls.from_draw(mask, most)

    @classmethod
    def all_visible(cls, batch: int, length: int, device: torch.device | str) -> "PatchMask":
        """A mask that hides nothing."""
        mask = torch.zeros(batch, length, dtype=torch.bool, device=device)
        positions = torch.arange(length, device=device).expand(batch, -1)
        return cls(mask, positions, positions[:, :0])

    @property
    def num_patches(self) -> int:
        return self.mask.shape[1]

    @property
    def num_visible(self) -> int:
        return self.visible_idx.shape[1]

    @property
    def num_masked(self) -> int:
        return self.masked_idx.shape[1]

    def gather_visible(self, patches: Tensor) -> Tensor:
        """(B, L, ...) of B images and N = K * B masks -> (N, V, ...)."""
        return gather_patches(patches, self.visible_idx)

    def gather_masked(self, patches: Tensor) -> Tensor:
        """(B, L, ...) of B images and N = K * B masks -> (N, M, ...)."""
        return gather_patches(patches, self.masked_idx)

    def check_fits(self, batch: int, length: int) -> None:
        """Check that these are masks of `length` patches for a batch of `batch` images.

        Raises:
            ValueError: they are not.
        """
        if self.num_patches != length or len(self.mask) % batch:
            raise ValueError(
                f"the mask must have shape ({batch}, {length}) (images x patches), or several of them "
                f"concatenated, got {tuple(self.mask.shape)}"
            )

    def upsample(self, grid: tuple[int, int], scale: int) -> Tensor:
        """The mask of `grid` = (rows, columns) on a map `scale` times finer: (N, L * scale²) bool."""
        return upsample_mask(self.mask, grid, scale)


def as_patch_mask(mask: PatchMask | Tensor) -> PatchMask:
    """A `PatchMask` as it is, a bool tensor (N, L) sorted: see `PatchMask.from_tensor`."""
    return mask if isinstance(mask, PatchMask) else PatchMask.from_tensor(mask)


def upsample_mask(mask: Tensor, grid: tuple[int, int], scale: int) -> Tensor:
    """(N, L) bool of `grid` = (rows, columns) -> (N, L * scale²), every patch a square of `scale`²."""
    fine = mask.unflatten(1, grid)
    return fine.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2).flatten(1)


def num_visible_patches(length: int, mask_ratio: float) -> int:
    """Visible patches of `length` at a mask ratio (facebookresearch/mae models_mae.py:129)."""
    return int(length * (1 - mask_ratio))


def random_mask(batch: int, length: int, mask_ratio: float, device: torch.device | str) -> PatchMask:
    """Mask patches of every sample uniformly (MAE, ConvMAE).

    `torch.rand(batch, length)`; the `int(length * (1 - mask_ratio))` smallest values of a row stay
    visible (facebookresearch/mae models_mae.py:123-148).

    Args:
        batch: number of samples.
        length: patches per sample.
        mask_ratio: share of masked patches.
        device: whose generator draws, and where the mask lies.

    Raises:
        ValueError: `mask_ratio` masks all patches, or none.
    """
    return PatchMask.from_draw(*_draw_uniform(batch, length, mask_ratio, device))


def block_mask(
    batch: int, grid: tuple[int, int], side: int, mask_ratio: float, device: torch.device | str
) -> PatchMask:
    """Mask squares of `side` x `side` patches uniformly (LSMAE).

    `random_mask` of the squares; the patches of a square share its state (long_seq_mae
    util/long_seq_patch_loader.py:44-66, which shuffles with numpy).

    Args:
        batch: number of samples.
        grid: (rows, columns) of patches.
        side: of a square, in patches.
        mask_ratio: share of masked squares.
        device: whose generator draws, and where the mask lies.

    Raises:
        ValueError: `side` does not divide the grid; `mask_ratio` masks all squares, or none.
    """
    rows, columns = grid
    if rows % side or columns % side:
        raise ValueError(
            f"squares of {side}x{side} patches do not divide {rows}x{columns} patches: set img_size "
            f"to a multiple of {side} times patch_size, or mask_block=1"
        )
    coarse = (rows // side, columns // side)
    squares, num_visible = _draw_uniform(batch, coarse[0] * coarse[1], mask_ratio, device)
    return PatchMask.from_draw(upsample_mask(squares, coarse, side), num_visible * side**2)


def complementary_masks(
    batch: int, length: int, mask_ratio: float, device: torch.device | str
) -> PatchMask:
    """K = 1 / (1 - mask_ratio) masks per sample, each patch visible in exactly one (FastConvMAE).

    The order that `random_mask` draws is cut into K equal parts, one visible part per mask
    (Alpha-VL/FastConvMAE models_fastconvmae.py:140-190).

    Returns:
        (K * batch, length) masks, one batch after another.

    Raises:
        ValueError: the visible share does not divide the patches into equal parts.
    """
    parts = round(1 / (1 - mask_ratio)) if mask_ratio < 1 else 0
    if parts < 2 or abs(parts * (1 - mask_ratio) - 1) > 1e-6 or length % parts:
        ratios = [f"{1 - 1 / n:.4g}" for n in range(2, 11) if length % n == 0]
        raise ValueError(
            f"mask_ratio {mask_ratio} does not split {length} patches into equal visible parts: set it "
            f"to one of {', '.join(ratios) or 'none up to 0.9'} (1 - 1 / n, n a divisor), or change "
            "the image size"
        )
    shuffled = _shuffled_patches(batch, length, device)
    visible = shuffled.unflatten(1, (parts, -1)).transpose(0, 1).flatten(0, 1)
    return PatchMask.from_draw(_mask_all_but(visible, length), length // parts)


def attentive_mask(importance: Tensor, mask_ratio: float) -> PatchMask:
    """Keep patches by weighted sampling without replacement (MaskAlign, section 3.2).

    Patches with high teacher attention are kept with higher probability:
    `torch.multinomial(importance, L, replacement=False)`, of which the first
    `int(L * (1 - mask_ratio))` stay visible (maskalign models_pretrain.py:218-244). torch computes it
    as the order of importance / noise with exponential noise; this function does the same, in order
    to take this process's rows of one global draw.

    Args:
        importance: (B, L) float32, all positive; rows need not sum to one.
        mask_ratio: share of masked patches.

    Raises:
        ValueError: `mask_ratio` masks all patches, or none.
        RuntimeError: a weight is not positive. On a GPU the device raises it asynchronously, as
            torch.multinomial does.
    """
    batch, length = importance.shape
    num_visible = num_visible_patches(length, mask_ratio)
    check_mask_ratio(mask_ratio, num_visible, length)
    torch._assert_async(
        (importance > 0).all(),
        "the teacher's attention has zeros or NaN, and every patch needs a positive weight to be "
        "drawn: check the teacher's weights, and that its attention was computed in float32",
    )
    world_size, rank = get_world_size(), get_rank()
    noise = torch.empty(batch * world_size, length, device=importance.device).exponential_()
    order = (importance / noise[rank::world_size]).argsort(dim=1, descending=True)
    return PatchMask.from_draw(_mask_all_but(order[:, :num_visible], length), num_visible)


def mixing_mask(length: int, mask_ratio: float, device: torch.device | str) -> PatchMask:
    """One mask for the whole batch: masked patches show the partner image (MixMIM).

    `torch.rand(1, 1, length)`; the `int(length * mask_ratio)` smallest values are masked
    (Sense-X/MixMIM models_mixmim.py:305-332). Each process has its own mask, as in the official code.

    Returns:
        (1, length) mask.

    Raises:
        ValueError: `mask_ratio` masks all patches, or none.
    """
    num_masked = int(length * mask_ratio)
    check_mask_ratio(mask_ratio, length - num_masked, length)
    noise = torch.rand(get_world_size(), 1, length, device=device)[get_rank()]
    mask = torch.zeros(1, length, dtype=torch.bool, device=device)
    mask = mask.scatter_(1, noise.argsort(dim=1)[:, :num_masked], True)
    return PatchMask.from_draw(mask, length - num_masked)


def check_mask_ratio(mask_ratio: float, num_visible: int, length: int) -> None:
    """Check that at least one patch is visible and one is masked.

    Raises:
        ValueError: no patch is visible, or none is masked.
    """
    if not 0 < num_visible < length:
        raise ValueError(
            f"mask_ratio {mask_ratio} keeps {num_visible} of {length} patches visible; at least one "
            "must be visible and one masked: set it between "
            f"{1 / max(length, 1):.2g} and {1 - 1 / max(length, 1):.2g}"
        )


def _draw_uniform(
    batch: int, length: int, mask_ratio: float, device: torch.device | str
) -> tuple[Tensor, int]:
    """(batch, length) bool, True = masked, and the number of visible patches; see `random_mask`."""
    num_visible = num_visible_patches(length, mask_ratio)
    check_mask_ratio(mask_ratio, num_visible, length)
    shuffled = _shuffled_patches(batch, length, device)
    return _mask_all_but(shuffled[:, :num_visible], length), num_visible


def _mask_all_but(visible: Tensor, length: int) -> Tensor:
    """Positions (N, V) -> (N, length) bool, False at these positions and True elsewhere."""
    mask = torch.ones(len(visible), length, dtype=torch.bool, device=visible.device)
    return mask.scatter_(1, visible, False)


def _shuffled_patches(batch: int, length: int, device: torch.device | str) -> Tensor:
    """(batch, length) patch positions in random order."""
    world_size, rank = get_world_size(), get_rank()
    noise = torch.rand(batch * world_size, length, device=device)[rank::world_size]
    return noise.argsort(dim=1)
