"""Time PixMIM's target against the plain complex transform of its definition, side by side.

python tools/benchmark_target.py [--batch N] [--size N] [--repeats N]
"""

import argparse
import statistics
import time

import torch

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

    times: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(args.repeats + 2):  # in turn, so that both meet the same noise
        for name, call in (
            ("plain", lambda: plain(images, disc, mean, std)),
            ("ours", lambda: ours(images)),
        ):
            began = time.perf_counter()
            call()
            if device == "cuda":
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - began)
    ratios = [b / a for a, b in zip(times["plain"][2:], times["ours"][2:], strict=True)]
    error = (ours(images) - plain(images, disc, mean, std)).abs().max().item()
    for name, values in times.items():
        print(f"{name}: median {1000 * statistics.median(values[2:]):.1f} ms per batch of {args.batch}")
    low, high = min(ratios), max(ratios)
    print(f"ours / plain: median {statistics.median(ratios):.2f} ({low:.2f} to {high:.2f}) on {device}")
    print(f"largest difference: {error:.1e}")


if __name__ == "__main__":
    main()
