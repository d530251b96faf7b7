"""Compare how long ConvMAE's loss stays finite: ours in bfloat16, the official code in float16.

Both start from the same weights of a narrow model, see the same crops, and take AdamW steps at a high
learning rate that is constant after a warm-up; float16 uses a loss scaler. Prints the first step with
a non-finite loss, at which a training run would stop.
"""

import argparse
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torchvision.transforms import v2

from mmmim.benchmark import peers
from mmmim.checkpoints import convert
from mmmim.data.image_file import read_rgb
from mmmim.data.unlabelled import list_images
from mmmim.registry import MODELS

DIMS, DEPTHS, HEADS, DECODER = (24, 48, 96), (1, 1, 4), 2, 48
BATCH, WARM_UP = 4, 20  # images per step; steps


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repository", type=Path, help="clone of Alpha-VL/ConvMAE")
    parser.add_argument("images", type=Path, help="folder of images, of which the first 256 are used")
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate (default: 0.1)")
    parser.add_argument("--steps", type=int, default=500, help="optimizer steps (default: 500)")
    parser.add_argument(
        "--official-dtype",
        choices=("float16", "bfloat16"),
        default="float16",
        help="precision of the official code (default: float16)",
    )


def run(args: argparse.Namespace) -> None:
    torch.manual_seed(0)
    official = build_official(args.repository)
    ours = build_ours()
    state, _ = convert(official.state_dict())
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
    """The narrow model in the official code."""
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
    """The same model in ours."""
    arch = dict(embed_dims=DIMS, depths=DEPTHS, num_heads=HEADS)
    decoder = dict(embed_dims=DECODER, depth=1, num_heads=2)
    return MODELS.build(dict(type="ConvMAE", backbone=dict(type="ConvViT", arch=arch), decoder=decoder))


def train(model, loss_of, dtype: str, images: list, lr: float, steps: int) -> str:
    """Train up to `steps` steps -> a description of the loss."""
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
            return f"loss {loss.item()} at step {step}, previous loss {losses[-1:]}"
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    first, last = (sum(part) / len(part) for part in (losses[:10], losses[-10:]))
    return f"finite for {steps} steps, loss {first:.3f} to {last:.3f}"
