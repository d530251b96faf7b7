"""Record loss and gradients of the official long-sequence MAE: ViT-B, 448 pixels, 2x2 masks.

    python -m tests.parity.record_lsmae LSMAE_REPOSITORY

LSMAE_REPOSITORY: facebookresearch/long_seq_mae at 9599310. Its data
loader draws masks with numpy; here they are drawn as ours and passed to the official model.
"""

import argparse
import sys
from pathlib import Path

import torch

from mmmim.benchmark import peers
from tests.parity.common import SEED, gradient_summary, images, save, set_weights


def official_indices(batch: int, side: int, ratio: float) -> tuple[torch.Tensor, torch.Tensor]:
    """ids_keep and ids_restore of masks in 2x2 squares (util/long_seq_patch_loader.py:44-66)."""
    squares = torch.rand(batch, (side // 2) ** 2).argsort(dim=1)
    y, x = 2 * (squares // (side // 2)), 2 * (squares % (side // 2))
    patches = [(y + dy) * side + x + dx for dx in range(2) for dy in range(2)]
    shuffled = torch.stack(patches, dim=2).flatten(1)
    keep = int(side**2 * (1 - ratio))
    return shuffled[:, :keep], shuffled.argsort(dim=1)


def main() -> None:
    module = peers.import_official(Path(sys.argv[1]), "models_mae")
    options = dict(decoder_downsampling=1, pred_downsampling=1, no_k_bias_in_vit=False)
    model = module.mae_vit_base_patch16_dec384d12h8b(
        args=argparse.Namespace(**options), patch_size=16, img_size=448, norm_pix_loss=True
    )
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    set_weights(trained)
    torch.manual_seed(SEED)
    loss, _, _ = model(images(2, 448), *official_indices(2, 28, 0.75))
    loss.backward()
    save(
        "lsmae_vit_base",
        dict(
            made_by="tests/parity/record_lsmae.py",
            source="facebookresearch/long_seq_mae 9599310",
            loss=loss.item(),
            gradients=gradient_summary(trained),
        ),
    )


if __name__ == "__main__":
    main()
