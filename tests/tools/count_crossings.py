"""Count the files of mmmim that one loss crosses, and the calls between files.

python tests/tools/count_crossings.py [--list]

Builds every method at a tiny size, runs one loss under `sys.setprofile`, and counts Python calls
between functions of different files below mmmim/. Also counts how often a step sorts a mask. The
limits are those of docs/design.md: at most 10 files, 14 for MaskAlign. Exits 1 above a limit.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import timm
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import mmmim
from mmmim.registry import MODELS

PACKAGE = Path(mmmim.__file__).parent
LIMITS = {"MaskAlign": 14}
LIMIT = 10
VIT = dict(type="ViT", arch=dict(embed_dims=32, depth=2, num_heads=2), img_size=32, patch_size=8)
CONV_VIT = dict(
    type="ConvViT",
    arch=dict(embed_dims=(8, 16, 32), depths=(1, 1, 2), num_heads=2, patch_sizes=(2, 2, 2)),
    img_size=32,
)
MIXMIM = dict(
    type="MixMIMTransformer",
    arch=dict(embed_dims=4, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2)),
    img_size=32,
    patch_size=1,
    window_sizes=(4, 4, 8, 4),  # as published: the third stage is a single window
)
TEACHER = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)


def configs(folder: Path) -> dict[str, dict]:
    """Configs of every method at a tiny size, with a random teacher in `folder`."""
    decoder = dict(embed_dims=16, depth=2, num_heads=2)
    name, checkpoint = "vit_tiny_patch16_224", str(folder / "teacher.pth")
    teacher = timm.create_model(name, num_classes=0, **TEACHER)
    torch.save(teacher.state_dict(), checkpoint)
    mae = dict(type="MAE", backbone=VIT, decoder=decoder)
    return {
        "MAE": mae,
        "LSMAE": dict(mae, type="LSMAE"),
        "PixMIM": dict(type="PixMIM", method=mae),
        "ConvMAE": dict(type="ConvMAE", backbone=CONV_VIT, decoder=decoder),
        "FastConvMAE": dict(type="FastConvMAE", backbone=CONV_VIT, decoder=decoder),
        "MixMIM": dict(type="MixMIM", backbone=MIXMIM, decoder=decoder),
        "MaskAlign": dict(
            type="MaskAlign",
            backbone=dict(VIT, final_norm=False),
            teacher=dict(name=name, checkpoint=checkpoint, model_args=TEACHER),
            layer_weights="top1",
        ),
    }


class SortCounter(TorchDispatchMode):
    """Counts sorts of non-float tensors, that is, of masks; random draws sort float noise."""

    def __init__(self) -> None:
        super().__init__()
        self.sorts = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        is_sort = function.overloadpacket in (torch.ops.aten.argsort, torch.ops.aten.sort)
        if is_sort and not args[0].is_floating_point():
            self.sorts += 1
        return function(*args, **(kwargs or {}))


def count(config: dict) -> tuple[Counter, set[str], int]:
    """Run one loss -> (calls between pairs of files, files, number of sorts of masks)."""
    method = MODELS.build(config)
    if hasattr(method, "teacher"):
        method.teacher.load()
    images = torch.randn(4, 3, 32, 32)
    calls: Counter = Counter()
    files: set[str] = set()

    def profile(frame, event, _):
        if event != "call" or (file := _file_of(frame)) is None:
            return
        files.add(file)
        caller = frame.f_back
        while caller is not None and _file_of(caller) is None:
            caller = caller.f_back  # nn.Module.__call__ and the like
        if caller is not None and (source := _file_of(caller)) != file:
            calls[source, file] += 1

    counter = SortCounter()
    with counter:
        sys.setprofile(profile)
        try:
            method(images, mode="loss")
        finally:
            sys.setprofile(None)
    return calls, files, counter.sorts


def _file_of(frame) -> str | None:
    path = frame.f_code.co_filename
    return str(Path(path).relative_to(PACKAGE)) if path.startswith(str(PACKAGE)) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="also list the files")
    args = parser.parse_args()
    above = []
    print(f"{'method':<12} {'files':>5} {'calls between files':>20} {'sorts of masks':>15}")
    with tempfile.TemporaryDirectory() as folder:
        for name, config in configs(Path(folder)).items():
            calls, files, sorts = count(config)
            print(f"{name:<12} {len(files):>5} {calls.total():>20} {sorts:>15}")
            if args.list:
                print("  " + "\n  ".join(sorted(files)))
            if len(files) > LIMITS.get(name, LIMIT):
                above.append(name)
    if above:
        sys.exit(f"above the limit: {', '.join(above)}")


if __name__ == "__main__":
    main()
