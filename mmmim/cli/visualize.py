"""Draw what a pretrained method sees and predicts.

Reconstructions of MAE, LSMAE, PixMIM, ConvMAE and MixMIM (norm_pix is undone with the statistics of the
true patches), attention and similarity to the teacher of MaskAlign.
"""

import argparse
from pathlib import Path

import torch
from mmengine import Config
from torchvision.transforms import v2

from mmmim.checkpoints import convert_file
from mmmim.cli.arguments import add_config, add_trust
from mmmim.data.image_file import read_rgb
from mmmim.data.unlabelled import list_images
from mmmim.engine import find_config
from mmmim.methods import Method
from mmmim.registry import MODELS
from mmmim.visualization import draw_panels, save_picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser, "pretraining config")
    parser.add_argument("checkpoint", help="checkpoint with the decoder, in any known format")
    parser.add_argument("images", type=Path, help="an image, or a folder of images")
    parser.add_argument(
        "--out", type=Path, default=Path("predictions.png"), help="PNG to write (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed of the mask (default: 0)")
    parser.add_argument("--limit", type=int, default=8, help="images of a folder to draw (default: 8)")
    add_trust(parser)


def run(args: argparse.Namespace) -> None:
    method = build_method(args.config, args.checkpoint)
    files = [args.images] if args.images.is_file() else list_images(args.images)[: args.limit]
    if len(files) < method.min_batch:
        raise ValueError(
            f"{type(method).__name__} needs at least {method.min_batch} images, and '{args.images}' "
            f"has {len(files)}: give a folder with more"
        )
    size = method.backbone.img_size
    crop = v2.Compose([v2.Resize(size), v2.CenterCrop(size), v2.PILToTensor()])
    torch.manual_seed(args.seed)
    with torch.no_grad():
        panels = method.panels(torch.stack([crop(read_rgb(file)) for file in files]))
    save_picture(draw_panels(panels), args.out)
    captions = ", ".join(panel.caption for panel in panels)
    print(f"wrote {args.out}: {captions}; {len(files)} images")


def build_method(config: str, checkpoint: str) -> Method:
    """The method of a config with the weights of a checkpoint, in evaluation mode.

    Raises:
        ValueError: the checkpoint holds an encoder without its decoder, or another model.
    """
    method = MODELS.build(Config.fromfile(find_config(config)).model)
    state, _ = convert_file(checkpoint)
    if all(key.startswith(("backbone.", "neck.", "head.")) for key in state):
        raise ValueError(
            f"'{checkpoint}' holds an encoder without its decoder, which a prediction needs: use the "
            "full pretraining checkpoint (for official MAE: mae_pretrain_*_full.pth, or "
            "mae_visualize_* with norm_pix=False in the config)"
        )
    try:
        method.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"'{checkpoint}' is not a checkpoint of '{config}': {error}") from error
    return method.eval()
