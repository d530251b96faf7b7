"""Record the losses of short seeded runs, and compare them with those of another revision.

python tests/tools/seeded_losses.py OUT.json [--checkout FOLDER] [--against OTHER.json]

A refactoring must not change any digit: record the losses before it, then after it with --against.
Exits 1 if any logged value differs. Runs the tiny pretraining configs, two detectors and two
segmenters on synthetic scenes, for a few steps each, on one thread of the CPU.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CONFIGS = (
    "mae_vit_scenes",
    "lsmae_vit_scenes",
    "pixmim_vit_scenes",
    "pixmim_lsmae_scenes",
    "pixmim_convvit_scenes",
    "convmae_convvit_scenes",
    "fastconvmae_convvit_scenes",
    "mixmim_scenes",
    "maskalign_vit_scenes",
    "mask-rcnn_vit_scenes",
    "mask-rcnn_convvit_scenes",
    "upernet_vit_scenes",
    "upernet_mixmim_scenes",
)
OPTIONS = (
    "train_dataloader.batch_size=8",
    "train_dataloader.num_workers=0",
    "train_dataloader.persistent_workers=False",
    "default_hooks.logger.interval=1",
)
SCENES = ("--unlabelled", "64", "--labelled", "32", "--validation", "4")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="JSON file to write")
    parser.add_argument(
        "--checkout",
        type=Path,
        default=Path(__file__).parents[2],
        help="checkout of the project to run (default: the one of this script)",
    )
    parser.add_argument("--against", type=Path, help="earlier recording to compare with")
    return parser.parse_args()


def losses_of(config: str, checkout: Path, folder: Path) -> list[dict[str, float]]:
    """All values that a training run logs, one dict per step, without times and memory."""
    work_dir = folder / config
    command = [sys.executable, str(checkout / "tools/train.py")]
    command += [f"{checkout}/configs/tiny/{config}.py", "--work-dir", str(work_dir)]
    length = "train_cfg.max_iters=6" if config.startswith("upernet") else "train_cfg.max_epochs=1"
    command += ["--no-validate", "--cfg-options", *OPTIONS, length]
    environment = dict(os.environ, OMP_NUM_THREADS="1", SCENES=str(folder / "scenes"))
    environment.update(PYTHONPATH=str(checkout), CUDA_VISIBLE_DEVICES="")
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{config} failed:\n{done.stderr[-2000:]}")
    (log,) = work_dir.glob("*/vis_data/scalars.json")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    clocks = ("time", "data_time", "memory")
    return [{k: v for k, v in record.items() if k not in clocks} for record in records]


def main() -> None:
    args = parse_args()
    checkout = args.checkout.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw = [sys.executable, str(checkout / "tools/make_scenes.py"), str(folder / "scenes"), *SCENES]
        environment = dict(os.environ, PYTHONPATH=str(checkout))
        subprocess.run(draw, check=True, env=environment, capture_output=True)
        found = {}
        for config in CONFIGS:
            found[config] = losses_of(config, checkout, folder)
            print(f"{config}: {len(found[config])} steps, loss {found[config][-1]['loss']}", flush=True)
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    if args.against:
        before = json.loads(args.against.read_text())
        other = [config for config in CONFIGS if before[config] != found[config]]
        print(f"{len(CONFIGS) - len(other)} of {len(CONFIGS)} runs log the same values in all digits")
        if other:
            sys.exit(f"these runs differ: {', '.join(other)}")


if __name__ == "__main__":
    main()
