"""Measure PixMIM's low-pass filter against the complex transform that defines it."""

import argparse

import torch

from mmmim.benchmark.timing import Work, measure, write
from mmmim.methods.pixmim import LowPassFilter

# ImageNet's statistics in 0..1.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def plain(images: torch.Tensor, disc: torch.Tensor, mean: torch.Tensor, std: torch.Tensor):
    """The definition: complex FFT, shift, mask, inverse FFT, absolute value.

    Args:
        images: (B, 3, N, N), normalized with `mean` and `std`.
        disc: (N, N) float, 1 for the frequencies to keep.
        mean, std: (3, 1, 1), in units of 0..1.
    """
    spectrum = torch.fft.fftshift(torch.fft.fft2(images * std + mean), dim=(-2, -1))
    return (torch.fft.ifft2(spectrum * disc).abs() - mean) / std


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=32, help="images per run (default: 32)")
    parser.add_argument(
        "--size", type=int, default=224, help="side of the images in pixels (default: 224)"
    )


def run(args: argparse.Namespace) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"

    radius = 40 * args.size / 224  # mmselfsup configs/selfsup/pixmim
    line = torch.arange(args.size, device=device) - (args.size - 1) / 2
    disc = (line[:, None] ** 2 + line[None] ** 2 <= radius**2).float()
    mean = torch.tensor(IMAGENET_MEAN, device=device).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=device).view(3, 1, 1)
    ours = LowPassFilter(args.size, radius, IMAGENET_MEAN, IMAGENET_STD).to(device)
    images = torch.randn(args.batch, 3, args.size, args.size, device=device)

    works = [
        Work("plain", lambda: plain(images, disc, mean, std), args.batch),
        Work("ours", lambda: ours(images), args.batch),
    ]
    write(f"PixMIM's target at {args.size} pixels", measure(works, args.repeats, device), out=args.out)
    error = (ours(images) - plain(images, disc, mean, std)).abs().max().item()
    print(f"largest absolute difference: {error:.1e}")
