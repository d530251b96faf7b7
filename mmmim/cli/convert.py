"""Convert weights between this project's names and others'.

python tools/convert_checkpoint.py SRC DST [--to NAME]

SRC is recognised: official MAE and timm, mmselfsup and mmpretrain (MAE, PixMIM), detectron2 ViTDet,
official ConvMAE (pretraining, fine-tuning, detection, segmentation), official and mmpretrain's MixMIM,
official MaskAlign (with its teacher inside or not), and this project's own. DST gets
{"state_dict", "meta"}, under our names or those of --to.
"""

import argparse
from pathlib import Path

import mmmim
from mmmim.checkpoints import FORMATS, read_checkpoint, recognise, to_mmmim, write_checkpoint
from mmmim.checkpoints.files import file_sha256
from mmmim.checkpoints.formats import (
    to_backbone,
    to_convmae,
    to_mixmim,
    to_mmpretrain_mixmim,
    to_timm,
)
from mmmim.checkpoints.parity import check_parity

# Name -> the function, and a weight that it needs.
EXPORTS = {
    "mmmim": (lambda state: (state, []), None),
    "backbone": (to_backbone, None),
    "timm": (to_timm, "backbone.blocks.0.norm1.weight"),
    "convmae": (to_convmae, "backbone.patch_embed4.weight"),
    "mixmim": (to_mixmim, "backbone.absolute_pos_embed"),
    "mmpretrain-mixmim": (to_mmpretrain_mixmim, "backbone.absolute_pos_embed"),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("src", type=Path, help="checkpoint of any known format")
    parser.add_argument("dst", type=Path, help="file to write")
    parser.add_argument(
        "--to",
        choices=EXPORTS,
        default="mmmim",
        help="mmmim keeps all (default); backbone keeps backbone.* alone; the others are the names of "
        "timm (a ViT's encoder), official ConvMAE (the encoder), official MixMIM, mmpretrain's MixMIM",
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

    export, needed = EXPORTS[args.to]
    if needed and needed not in ours:
        fitting = [name for name, (_, key) in EXPORTS.items() if not key or key in ours]
        raise ValueError(
            f"'{args.src}' holds {FORMATS[source].description}, which --to {args.to} has no names for; "
            f"take --to {' or '.join(fitting)}"
        )
    state, dropped = export(ours)
    if args.to != "mmmim":
        print(f"{args.to}: {len(state)} of {len(ours)} weights kept")
        _report(dropped)
    meta = dict(
        source=args.src.name,
        source_format=source,
        source_sha256=file_sha256(args.src),
        mmmim_version=mmmim.__version__,
    )
    write_checkpoint(args.dst, state, meta)
    print(f"wrote {args.dst}")


def _report(keys: list[str]) -> None:
    if keys:
        print(f"left out: {', '.join(keys[:6])}{f' and {len(keys) - 6} more' if keys[6:] else ''}")


if __name__ == "__main__":
    main()
