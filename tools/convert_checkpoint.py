"""Convert weights between this project's names and others'.

python tools/convert_checkpoint.py SRC DST [--to {mmmim,timm,convmae,backbone}]

SRC is recognised: official MAE and timm, mmselfsup and mmpretrain (MAE, PixMIM), detectron2 ViTDet,
official ConvMAE (pretraining, fine-tuning, detection, segmentation), and this project's own. DST gets
{"state_dict", "meta"}; with --to timm or convmae, the encoder under timm's or the official names.
"""

import argparse
import hashlib
from pathlib import Path

import mmmim
from mmmim.checkpoints import FORMATS, read_checkpoint, recognise, to_mmmim, write_checkpoint
from mmmim.checkpoints.formats import to_backbone, to_convmae, to_timm
from mmmim.checkpoints.parity import check_parity

EXPORTS = {
    "mmmim": lambda state: (state, []),
    "timm": to_timm,
    "convmae": to_convmae,
    "backbone": to_backbone,
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("src", type=Path, help="checkpoint of any known format")
    parser.add_argument("dst", type=Path, help="file to write")
    parser.add_argument(
        "--to",
        choices=EXPORTS,
        default="mmmim",
        help="mmmim keeps all (default); backbone keeps backbone.* alone; timm and convmae are the "
        "encoder of a ViT or ConvViT under timm's or the official names",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.dst.exists():
        raise FileExistsError(f"'{args.dst}' exists; choose another name, or remove it first")
    original = read_checkpoint(args.src)
    source = recognise(original)
    ours, left_out = to_mmmim(original)
    print(f"{args.src}: {FORMATS[source].description}, {len(ours)} of {len(original)} weights kept")
    _report(left_out)
    print(check_parity(source, original, ours))

    state, dropped = EXPORTS[args.to](ours)
    kind = "convmae" if "backbone.patch_embed4.weight" in ours else "timm"
    if args.to in ("timm", "convmae") and args.to != kind:
        raise ValueError(
            f"'{args.src}' holds {FORMATS[source].description}, which --to {args.to} has no names for; "
            f"take --to {kind}, or --to backbone"
        )
    if args.to != "mmmim":
        print(f"{args.to}: {len(state)} of {len(ours)} weights kept")
        _report(dropped)
    meta = dict(
        source=args.src.name,
        source_format=source,
        source_sha256=hashlib.sha256(args.src.read_bytes()).hexdigest(),
        mmmim_version=mmmim.__version__,
    )
    write_checkpoint(args.dst, state, meta)
    print(f"wrote {args.dst}")


def _report(keys: list[str]) -> None:
    if keys:
        print(f"left out: {', '.join(keys[:6])}{f' and {len(keys) - 6} more' if keys[6:] else ''}")


if __name__ == "__main__":
    main()
