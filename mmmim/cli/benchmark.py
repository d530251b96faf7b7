"""How fast is it, against what else one could run?

python tools/benchmark.py step CONFIG ... [--against {FOLDER,mmpretrain} ...] [--mask-ratios R ...]
    [--size N] [--batch N] [--dtype {float32,bfloat16}] [--compile] [--optimizer]
    [--images FOLDER]
python tools/benchmark.py loader FOLDER [--against mmpretrain]
python tools/benchmark.py curves CONFIG ... [--sizes N ...] [--batches N ...] [--dtype ...]
python tools/benchmark.py transfer CONFIG ... [--against openmmlab] [--size N] [--batch N]
    [--dtype ...] [--channels-last]
common: [--repeats N] [--threads N] [--out PREFIX]

Everything that is compared takes turns in one process: other load on the machine meets all. Prints a
table; with --out, writes PREFIX.md and PREFIX.json.

step: forward and backward of pretraining, on a GPU where there is one, on random images; with
--optimizer, AdamW too. Several configs, or --against a clone of the method's official repository or
mmpretrain's implementation. With --mask-ratios, ours alone at each ratio, and of ConvMAE also its
convolutional stages alone. Of MaskAlign, also its teacher alone (with random weights where its file
is not there), and of PixMIM the filter that it adds to its host. With --images, also steps on
photographs, and the share of their time that waits for them.

loader: from JPEG files to a batch, images per second and core, of MAE's and PixMIM's pipelines.

curves: the time of an image against its size and the batch, of the encoder alone and of the whole
method, drawn to PREFIX.png.

transfer: a training step of a detector or segmenter on random images with one object. Against the
backbone of mmdet, mmseg or mmpretrain of the same size in the same model.
"""

import argparse
from pathlib import Path

import benchmark_curves
import benchmark_loader
import benchmark_step
import benchmark_transfer
import torch


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    for part in (benchmark_step, benchmark_loader, benchmark_curves, benchmark_transfer):
        sub = parts.add_parser(
            part.__name__.removeprefix("benchmark_"), help=part.__doc__.splitlines()[0]
        )
        part.add_arguments(sub)
        sub.add_argument("--repeats", type=int, default=7, help="rounds")
        sub.add_argument("--threads", type=int, help="of the CPU; torch's default where left out")
        sub.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
        sub.set_defaults(run=part.run, check=lambda args, sub=sub, part=part: part.check(sub, args))
    args = parser.parse_args()
    args.check(args)
    return args


def main() -> None:
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    args.run(args)


if __name__ == "__main__":
    main()
