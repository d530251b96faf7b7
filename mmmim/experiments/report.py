"""The demo's report: one HTML file with embedded pictures."""

import base64
import html
import io
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import torch
from matplotlib import pyplot as plt
from mmengine import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image
from torch import Tensor
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from mmmim.atomic import write_text
from mmmim.checkpoints import read_checkpoint
from mmmim.registry import MODELS
from mmmim.visualization import figure_png, tile

# Colors of the classes in both tasks; the first is the background's, which is not drawn.
COLORS = [(0, 0, 0), (230, 80, 60), (70, 130, 230), (240, 200, 60)]
ENLARGE = 2  # factor on the size of pictures
SCORE = 0.5  # detections with lower scores are not drawn

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } th, td { padding: .3rem .8rem; border-bottom: 1px solid #ccc; }
td { text-align: right; } td:first-child, th:first-child { text-align: left; }
img { max-width: 100%; } figcaption { color: #555; }
pre { background: #f4f4f4; padding: .6rem; overflow: auto; }
"""


@dataclass(frozen=True)
class Section:
    """A section of the report: heading, caption and picture."""

    title: str
    caption: str
    png: bytes


def write_report(path: Path, title: str, intro: str, rows: list[list[str]], sections: list[Section]):
    """Write the report atomically.

    Args:
        path: the HTML file.
        title: its heading.
        intro: HTML between heading and table.
        rows: cells of the table; the first row is its header.
        sections: what follows the table.
    """
    head, *body = rows
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = [f"<tr>{cells}</tr>"]
    for row in body:
        lines.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>")
    figures = [
        f"<h2>{html.escape(s.title)}</h2><figure><img alt='{html.escape(s.title)}' "
        f"src='data:image/png;base64,{base64.b64encode(s.png).decode()}'>"
        f"<figcaption>{html.escape(s.caption)}</figcaption></figure>"
        for s in sections
    ]
    page = (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title>"
        f"<style>{STYLE}</style><h1>{html.escape(title)}</h1>{intro}"
        f"<table>{''.join(lines)}</table>{''.join(figures)}</html>"
    )
    write_text(path, page)


def loss_curves(curves: dict[str, dict[str, list[tuple[int, float]]]]) -> bytes:
    """Plot {panel title: {line label: [(step, loss), ...]}} -> PNG."""
    figure, axes = plt.subplots(1, len(curves), figsize=(4 * len(curves), 3.2))
    for axis, (title, lines) in zip(axes, curves.items(), strict=True):
        for label, points in lines.items():
            axis.plot(*zip(*points, strict=True), label=label)
        axis.set(title=title, xlabel="step", ylabel="training loss")
        axis.legend()
    figure.tight_layout()
    plt.close(figure)
    return figure_png(figure)


def prediction_picture(config: str, checkpoints: dict[str, Path], images: int = 6) -> bytes:
    """A PNG whose rows are validation images, ground truth, and each checkpoint's predictions."""
    columns: list[list[Tensor]] = []
    for checkpoint in checkpoints.values():
        samples = predict(config, checkpoint, images)
        if not columns:
            columns = [[image for image, _ in samples], [draw(*s, "gt") for s in samples]]
        columns.append([draw(*sample, "pred") for sample in samples])
    # `tile` takes columns; each column shows one image.
    stacked = [torch.stack(versions).float() / 255 for versions in zip(*columns, strict=True)]
    return png((tile(stacked) * 255).round().to(torch.uint8))


@torch.no_grad()
def predict(config: str, checkpoint: Path, images: int) -> list[tuple[Tensor, object]]:
    """(RGB image uint8 (3, H, W), data sample with ground truth and prediction) of the first images."""
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    loader = {**cfg.test_dataloader, "batch_size": images, "num_workers": 0}
    loader["persistent_workers"] = False
    batch = next(iter(Runner.build_dataloader(loader)))
    model = MODELS.build(cfg.model)
    model.load_state_dict(read_checkpoint(checkpoint))
    pixels = [image.flip(0) for image in batch["inputs"]]  # loaded as BGR
    return list(zip(pixels, model.eval().test_step(batch), strict=True))


def draw(image: Tensor, sample, which: str) -> Tensor:
    """Draw a detection or segmentation sample over uint8 (3, H, W) -> uint8 (3, H, W).

    `which` is "gt" for ground truth, or "pred" for predictions.
    """
    if hasattr(sample, "pred_sem_seg"):
        classes = getattr(sample, f"{which}_sem_seg").data[0]
        masks = torch.stack([classes == i for i in range(1, len(COLORS))])
        return draw_segmentation_masks(image, masks, alpha=0.7, colors=COLORS[1:])
    instances = getattr(sample, f"{which}_instances")
    if which == "pred":
        instances = instances[instances.scores > SCORE]
    colors = [COLORS[label + 1] for label in instances.labels.tolist()]
    if not colors:
        return image
    masks = instances.masks
    if not isinstance(masks, Tensor):  # mmdet's BitmapMasks
        masks = torch.from_numpy(masks.masks)
    masks = masks.bool()
    # Sorted by score: better masks cover others, since torchvision blackens overlaps.
    covered = masks.cumsum(dim=0) > 1
    image = draw_segmentation_masks(image, masks & ~covered, alpha=0.5, colors=colors)
    boxes = instances.bboxes
    boxes = getattr(boxes, "tensor", boxes)
    return draw_bounding_boxes(image, boxes, colors=colors)


def png(picture: Tensor) -> bytes:
    """uint8 (3, H, W) -> PNG, enlarged without interpolation."""
    image = Image.fromarray(picture.permute(1, 2, 0).numpy())
    image = image.resize((image.width * ENLARGE, image.height * ENLARGE), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
