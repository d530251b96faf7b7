"""Does half precision stay finite? ConvMAE here in bfloat16, and the official code in float16.

python tools/benchmark_precision.py CONVMAE_REPOSITORY IMAGES [--lr R] [--steps N]
    [--official-dtype D]

CONVMAE_REPOSITORY is a clone of Alpha-VL/ConvMAE, IMAGES a folder. Both start from the same narrow
weights, see the same crops, and take AdamW steps at a constant, high learning rate, the official code
with its loss scaler. Prints the first step whose loss is not finite, which ends a run there.
"""

import argparse
from functools import partial
from pathlib import Path

import peers
import torch
from torch import nn
from torchvision.transforms import v2

import mmmim  # noqa: F401  registers the methods
from mmmim.checkpoints import to_mmmim
from mmmim.data.photo import read_rgb
from mmmim.data.unlabelled import list_images
from mmmim.registry import MODELS

DIMS, DEPTHS, HEADS, DECODER = (24, 48, 96), (1, 1, 4), 2, 48
BATCH, WARM_UP = 4, 20


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repository", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--official-dtype", choices=("float16", "bfloat16"), default="float16")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    torch.manual_seed(0)
    official = build_official(args.repository)
    ours = build_ours()
    state, _ = to_mmmim(official.state_dict())
    ours.load_state_dict(state)
    images = [read_rgb(file) for file in list_images(args.images)[:256]]
    runs = (
        ("ours", ours, lambda x: ours(x)["loss"], "bfloat16"),
        ("official", official, lambda x: official(x)[0], args.official_dtype),
    )
    for name, model, loss_of, dtype in runs:
        print(
            f"{name} in {dtype}: {train(model, loss_of, dtype, images, args.lr, args.steps)}",
            flush=True,
        )


def build_official(repository: Path) -> nn.Module:
    module = peers.import_official(repository, "models_convmae")
    return module.MaskedAutoencoderConvViT(
        img_size=[224, 56, 28],
        patch_size=[4, 2, 2],
        embed_dim=list(DIMS),
        depth=list(DEPTHS),
        num_heads=HEADS,
        decoder_embed_dim=DECODER,
        decoder_depth=1,
        decoder_num_heads=2,
        mlp_ratio=[4, 4, 4],
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        norm_pix_loss=True,
    )


def build_ours() -> nn.Module:
    arch = dict(embed_dims=DIMS, depths=DEPTHS, num_heads=HEADS)
    decoder = dict(embed_dims=DECODER, depth=1, num_heads=2)
    return MODELS.build(dict(type="ConvMAE", backbone=dict(type="ConvViT", arch=arch), decoder=decoder))


def train(model, loss_of, dtype: str, images: list, lr: float, steps: int) -> str:
    """Up to `steps` steps; -> what became of the loss."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device).train()
    crop = v2.Compose(
        [
            v2.RandomResizedCrop(224, scale=(0.2, 1.0), interpolation=3),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=lr, betas=(0.9, 0.95), weight_decay=0.05
    )
    scaler = torch.amp.GradScaler(device, enabled=dtype == "float16")
    torch.manual_seed(1)
    losses: list[float] = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * min(1, (step + 1) / WARM_UP)
        batch = torch.stack([crop(images[i]) for i in torch.randperm(len(images))[:BATCH]])
        with torch.autocast(device, dtype=getattr(torch, dtype)):
            loss = loss_of(batch.to(device))
        if not loss.isfinite():
            return f"loss {loss.item()} at step {step}, after {losses[-1:]}"
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    first, last = (sum(part) / len(part) for part in (losses[:10], losses[-10:]))
    return f"finite for {steps} steps, loss {first:.3f} to {last:.3f}"


if __name__ == "__main__":
    main()
