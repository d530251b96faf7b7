"""Draw what a pretrained method sees and predicts: reconstructions, or similarity to its teacher.

python tools/visualize.py CONFIG CHECKPOINT IMAGES [--out FILE] [--seed N] [--limit N]

IMAGES is an image or a folder. A reconstruction undoes norm_pix with the true patches' statistics.
"""

import argparse
from pathlib import Path

import torch
from mmengine import Config
from torchvision.transforms import v2

import mmmim  # noqa: F401
from mmmim.checkpoints import read_checkpoint, to_mmmim
from mmmim.data.photo import read_rgb
from mmmim.data.pictures import draw_predictions, save_picture
from mmmim.data.unlabelled import list_images
from mmmim.methods import MaskAlign, MixMIM
from mmmim.registry import MODELS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="pretraining config")
    parser.add_argument("checkpoint", help="weights with decoder, any known format")
    parser.add_argument("images", type=Path, help="an image, or a folder of images")
    parser.add_argument("--out", type=Path, default=Path("predictions.png"))
    parser.add_argument("--seed", type=int, default=0, help="of the mask")
    parser.add_argument("--limit", type=int, default=8, help="images of a folder that are drawn")
    return parser.parse_args()


def build_method(config: str, checkpoint: str):
    """The method of a config with the weights of a checkpoint.

    Raises:
        ValueError: the checkpoint holds an encoder without its decoder, or another model.
    """
    method = MODELS.build(Config.fromfile(config).model)
    state, _ = to_mmmim(read_checkpoint(checkpoint))
    if not state.keys() - {key for key in state if key.startswith(("backbone.", "neck.", "head."))}:
        raise ValueError(
            f"'{checkpoint}' holds an encoder alone, and a prediction needs the decoder it was trained "
            "with. Use the full pretraining checkpoint (of official MAE: mae_pretrain_*_full.pth, or "
            "mae_visualize_* and norm_pix=False in the config)"
        )
    try:
        method.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"'{checkpoint}' is not a checkpoint of '{config}': {error}") from error
    return method.eval()


def main() -> None:
    args = parse_args()
    method = build_method(args.config, args.checkpoint)
    files = [args.images] if args.images.is_file() else list_images(args.images)[: args.limit]
    if isinstance(method, MixMIM) and len(files) < 2:
        raise ValueError(f"MixMIM mixes two images, and '{args.images}' is one: give a folder")
    size = method.backbone.img_size
    crop = v2.Compose([v2.Resize(size), v2.CenterCrop(size), v2.PILToTensor()])
    torch.manual_seed(args.seed)
    picture = draw_predictions(method, torch.stack([crop(read_rgb(file)) for file in files]))
    save_picture(picture, args.out)
    print(f"wrote {args.out}: {columns_of(method)}; {len(files)} images")


def columns_of(method) -> str:
    """What `draw_predictions` shows of a method."""
    if isinstance(method, MaskAlign):
        attention = "what the teacher attends to, " if method.attentive else ""
        return f"original, {attention}kept patches, similarity to the teacher"
    mixed = ", the partner's reconstruction, the partner" if isinstance(method, MixMIM) else ""
    return f"original, input, reconstruction, target{mixed}"


if __name__ == "__main__":
    main()
