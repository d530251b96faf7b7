"""Convert weights between mmmim's names and those of other projects.

The format of SRC is detected: official MAE and timm, mmselfsup and mmpretrain (MAE, PixMIM),
detectron2 ViTDet, official ConvMAE (pretraining, fine-tuning, detection, segmentation), official and
mmpretrain's MixMIM, official MaskAlign (with or without its teacher), and mmmim's own. DST gets
{"state_dict", "meta"} under mmmim's names, or those of --to. The encoders of both files are compared
on a random image.
"""

import argparse
from pathlib import Path

from mmmim.checkpoints import (
    FORMATS,
    convert_weights,
    detect_format,
    export,
    read_checkpoint,
    write_checkpoint,
)
from mmmim.checkpoints.formats import all_exports
from mmmim.checkpoints.io import file_sha256
from mmmim.checkpoints.verify import verify_conversion
from mmmim.cli.arguments import add_trust
from mmmim.version import __version__


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("src", metavar="SRC", type=Path, help="checkpoint of any known format")
    parser.add_argument("dst", metavar="DST", type=Path, help="file to write; it must not exist")
    parser.add_argument(
        "--to",
        choices=all_exports(),
        default="mmmim",
        help="names to write: mmmim keeps all weights (default), backbone keeps backbone.* alone. timm "
        "and convmae keep the encoder and drop decoder and heads; mixmim and mmpretrain-mixmim keep "
        "the decoder too",
    )
    add_trust(parser)


def run(args: argparse.Namespace) -> None:
    if args.dst.exists():
        raise FileExistsError(f"'{args.dst}' exists: choose another name, or remove it first")
    original = read_checkpoint(args.src)
    ours, left_out = convert_weights(original, args.src)
    source = detect_format(original)
    print(f"{args.src}: {FORMATS[source].description}, {len(ours)} of {len(original)} weights kept")
    _report(left_out)
    print(verify_conversion(source, original, ours))
    state, dropped = export(ours, args.to)
    if args.to != "mmmim":
        print(f"{args.to}: {len(state)} of {len(ours)} weights kept")
        _report(dropped)
    meta = dict(
        source=args.src.name,
        source_format=source,
        source_sha256=file_sha256(args.src),
        mmmim_version=__version__,
    )
    write_checkpoint(args.dst, state, meta)
    print(f"wrote {args.dst}")


def _report(keys: list[str]) -> None:
    if keys:
        print(f"left out: {', '.join(keys[:6])}{f' and {len(keys) - 6} more' if keys[6:] else ''}")
