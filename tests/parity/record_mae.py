"""Record loss and gradients of the official MAE, also with mmselfsup's low-frequency target.

    python -m tests.parity.record_mae MAE_REPOSITORY MMSELFSUP_REPOSITORY

MAE_REPOSITORY: facebookresearch/mae at efb2a80; MMSELFSUP_REPOSITORY: open-mmlab/mmselfsup at db861f3.
Only their model files are run.
"""

import sys
from pathlib import Path

import torch

from mmmim.benchmark import peers
from tests.parity.common import SEED, gradient_summary, images, save, set_weights, tensor_summary


def official_mae(repository: Path):
    model = peers.mae(repository)
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # unfused, as in 2021
    return model


def record(model, batch, target) -> dict:
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    torch.manual_seed(SEED)
    latent, mask, restore = model.forward_encoder(batch, 0.75)
    loss = model.forward_loss(target, model.forward_decoder(latent, restore), mask)
    loss.backward()
    return dict(loss=loss.item(), gradients=gradient_summary(trained))


def main() -> None:
    model = official_mae(Path(sys.argv[1]))
    set_weights({n: p for n, p in model.named_parameters() if p.requires_grad})
    batch = images(2, 224)
    low_pass = peers.low_frequency_target(Path(sys.argv[2]))
    filtered = low_pass(batch)
    sources = dict(mae="facebookresearch/mae efb2a80", mmselfsup="open-mmlab/mmselfsup db861f3")
    made_by = "tests/parity/record_mae.py"
    save("mae_vit_base", dict(made_by=made_by, sources=sources, **record(model, batch, batch)))
    save(
        "pixmim_vit_base",
        dict(
            made_by=made_by,
            sources=sources,
            target=tensor_summary("target", filtered),
            kept_bins=int(low_pass.low_pass_filter[0].sum()),
            **record(model, batch, filtered),
        ),
    )


if __name__ == "__main__":
    main()
