"""Time PixMIM's target against the plain complex transform of its definition, side by side.

python tools/benchmark_target.py [--batch N] [--size N] [--repeats N]
"""

import argparse

import torch
from timing import Work, measure, write

import mmmim  # noqa: F401
from mmmim.targets import LowPassFilter

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def plain(images: torch.Tensor, disc: torch.Tensor, mean: torch.Tensor, std: torch.Tensor):
    """The definition: whole complex transform, shift, mask, inverse, absolute value."""
    spectrum = torch.fft.fftshift(torch.fft.fft2(images * std + mean), dim=(-2, -1))
    return (torch.fft.ifft2(spectrum * disc).abs() - mean) / std


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"

    radius = 40 * args.size / 224
    line = torch.arange(args.size, device=device) - (args.size - 1) / 2
    disc = (line[:, None] ** 2 + line[None] ** 2 <= radius**2).float()
    mean = torch.tensor(MEAN, device=device).view(3, 1, 1)
    std = torch.tensor(STD, device=device).view(3, 1, 1)
    ours = LowPassFilter(args.size, radius, MEAN, STD).to(device)
    images = torch.randn(args.batch, 3, args.size, args.size, device=device)

    works = [
        Work("plain", lambda: plain(images, disc, mean, std), args.batch),
        Work("ours", lambda: ours(images), args.batch),
    ]
    write(f"PixMIM's target at {args.size} pixels", measure(works, args.repeats, device))
    error = (ours(images) - plain(images, disc, mean, std)).abs().max().item()
    print(f"largest difference: {error:.1e}")


if __name__ == "__main__":
    main()
