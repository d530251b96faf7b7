"""Measure a training step of a detector or segmenter, without the optimizer.

Uses random images with one object each. With --against openmmlab, also times the same model with the
backbone of mmdet, mmseg or mmpretrain of the same kind and size.
"""

import argparse
import copy
from collections.abc import Callable

import numpy as np
import torch
from mmengine import Config
from mmengine.registry import DefaultScope

from mmmim.benchmark.timing import measure_steps, peak_flops, write
from mmmim.engine import find_config
from mmmim.engine.distribution import replace_sync_bn
from mmmim.registry import MODELS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "configs",
        nargs="+",
        metavar="config",
        help="detector or segmenter: a config file, or the name of a packaged one "
        "(detection/vit-b_mask-rcnn_coco)",
    )
    parser.add_argument(
        "--against",
        choices=["openmmlab"],
        help="also time the model with OpenMMLab's backbone of the same kind and size",
    )
    parser.add_argument(
        "--size",
        type=int,
        help="side of the images in pixels (default: 1024 for detection, 512 for segmentation)",
    )
    parser.add_argument("--batch", type=int, default=2, help="images per step (default: 2)")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="float32, or autocast to bfloat16 (default: float32)",
    )
    parser.add_argument(
        "--channels-last",
        action="store_true",
        help="also time our models in the memory format channels_last",
    )


def run(args: argparse.Namespace) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    steps = {}
    for path in args.configs:
        cfg = Config.fromfile(find_config(path))
        name = path.rpartition("/")[2].removesuffix(".py")
        steps[name] = _step(cfg, cfg.model, args, device)
        if args.channels_last:
            steps[f"{name}, channels last"] = _step(cfg, cfg.model, args, device, torch.channels_last)
        if args.against:
            peer, model = _on_openmmlabs_backbone(cfg, _side(cfg, args))
            steps[f"{name}, {peer}"] = _step(cfg, model, args, device)
    timings = measure_steps(steps, args.batch, args.repeats, device)
    title = f"transfer: batch {args.batch}, {args.dtype}"
    write(title, timings, peak_flops(device, getattr(torch, args.dtype)), args.out)


def _step(
    cfg: Config,
    model: dict,
    args: argparse.Namespace,
    device: str,
    layout: torch.memory_format = torch.contiguous_format,
) -> Callable[[], None]:
    size = _side(cfg, args)
    model = copy.deepcopy(model)
    if device == "cpu":
        replace_sync_bn(model)
    if args.size and cfg.default_scope == "mmdet":
        model["data_preprocessor"]["pad_size_divisor"] = 32
    if args.size and cfg.default_scope == "mmseg":
        model["data_preprocessor"]["size"] = (size, size)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        built = MODELS.build(model).to(device, memory_format=layout).train()
    images = torch.randint(0, 255, (args.batch, 3, size, size), dtype=torch.uint8)
    batch = dict(inputs=list(images), data_samples=[_sample(cfg, size) for _ in images])

    def step() -> None:
        mixed = args.dtype == "bfloat16"
        with torch.autocast(device, dtype=torch.bfloat16, enabled=mixed):
            data = built.data_preprocessor(copy.deepcopy(batch), training=True)
            loss, _ = built.parse_losses(built(**data, mode="loss"))
        loss.backward()
        built.zero_grad(set_to_none=True)

    return step


def _side(cfg: Config, args: argparse.Namespace) -> int:
    return args.size or (1024 if cfg.default_scope == "mmdet" else 512)


def _sample(cfg: Config, size: int):
    """Annotations of one square object of class 1 in the middle of the image."""
    meta = dict(img_shape=(size, size), ori_shape=(size, size), pad_shape=(size, size))
    low, high = size // 4, 3 * size // 4
    mask = np.zeros((1, size, size), np.uint8)
    mask[:, low:high, low:high] = 1
    if cfg.default_scope == "mmseg":
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        sample = SegDataSample(metainfo=meta)
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(mask).long())
        return sample
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    sample = DetDataSample(metainfo=meta)
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[float(low), low, high, high]]),
        labels=torch.tensor([1]),
        masks=BitmapMasks(mask, size, size),
    )
    return sample


def _on_openmmlabs_backbone(cfg: Config, side: int) -> tuple[str, dict]:
    """The model of a base-size config with OpenMMLab's counterpart of its backbone -> (name, model).

    mmdet's Swin-B replaces MixMIM's transformer (same widths; windows are 7 tokens wide, MixMIM's 14
    and, in the last stage, 7), mmpretrain's ViTSAM ViTDet's ViT, and mmseg's MAE UperNet's ViT.

    Raises:
        ValueError: OpenMMLab has no counterpart of the backbone.
    """
    backbone = cfg.model.backbone
    kind = backbone.type.rpartition(".")[2]
    if kind == "MixMIMTransformer":
        peer = dict(type="mmdet.SwinTransformer", embed_dims=128, num_heads=[4, 8, 16, 32])
        peer |= dict(depths=[2, 2, 18, 2], drop_path_rate=0.0, convert_weights=False)
        name = "mmdet's Swin-B"
    elif kind == "ViT" and cfg.default_scope == "mmdet":
        import mmpretrain.models  # noqa: F401  registers ViTSAM

        peer = dict(
            type="mmpretrain.ViTSAM", arch="base", img_size=1024, out_channels=0, window_size=14
        )
        peer |= dict(drop_path_rate=backbone.drop_path_rate)
        name = "mmpretrain's ViTSAM-B"
    elif kind == "ViT":
        peer = dict(type="mmseg.MAE", img_size=(side, side), init_values=1.0, drop_path_rate=0.1)
        peer |= dict(out_indices=[3, 5, 7, 11])
        name = "mmseg's MAE-B"
    else:
        raise ValueError(
            f"--against openmmlab supports ViT and MixMIMTransformer, got {kind}: remove --against"
        )
    return name, {**cfg.model, "backbone": peer}
