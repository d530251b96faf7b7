"""Quick evaluations of frozen features during pretraining: k nearest neighbors and a linear probe."""

import functools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from mmmim.data.image_file import read_rgb
from mmmim.data.labelled import list_labelled
from mmmim.data.unlabelled import list_images
from mmmim.deprecation import renamed_arguments
from mmmim.methods.base import Method, unwrap_model
from mmmim.registry import HOOKS

BATCH = 32


class _QuickSignal(Hook):
    """Evaluates the backbone every `interval` epochs and after the last one, on rank 0."""

    calls_model_parts = True
    name: str

    def __init__(self, interval: int, image_size: int | None) -> None:
        self.interval, self.image_size = interval, image_size

    def evaluate(self, features: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """`features`: uint8 (B, 3, H, W) -> a map of the backbone (B, C, h, w)."""
        raise NotImplementedError

    def before_train(self, runner: Runner) -> None:
        self.image_size = self.image_size or unwrap_model(runner.model).backbone.img_size

    @master_only
    @torch.no_grad()
    def after_train_epoch(self, runner: Runner) -> None:
        epoch = runner.epoch + 1
        if not (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            return
        method = unwrap_model(runner.model)
        method.eval()
        found = self.evaluate(functools.partial(_features, method))
        method.train()
        runner.logger.info(f"{self.name}: " + ", ".join(f"{k} {v:.1f}" for k, v in found.items()))
        runner.visualizer.add_scalars({f"{self.name}/{k}": v for k, v in found.items()}, step=epoch)


def _features(method: Method, images: Tensor) -> Tensor:
    """The last map at the stride of the mask (the third stage of a ConvViT), else the last map."""
    backbone = method.backbone
    maps = backbone(method.data_preprocessor(dict(inputs=images))["inputs"])
    side = -(-images.shape[3] // backbone.patch_size)
    return ([m for m in maps if m.shape[3] == side] or list(maps))[-1].float().cpu()


@HOOKS.register_module()
class KNNEvalHook(_QuickSignal):
    """Top-1 accuracy of weighted k nearest neighbors on mean features of labelled images.

    facebookresearch/dino eval_knn.py: cosine similarity, votes weighted by exp(similarity / 0.07). It
    predicts fine-tuning poorly for masked methods, whose features are not trained to be compared.

    Args:
        data_root: folder with train/CLASS/*.jpg and val/CLASS/*.jpg.
        interval: epochs between evaluations.
        k: number of neighbors.
        image_size: side in pixels that images are resized and cropped to; None is the backbone's.
        limit: images per split, evenly spread over the classes.

    Raises:
        FileNotFoundError: no `train` or `val` below `data_root`.
        ValueError: fewer than two classes, or different classes in the splits.
    """

    name = "nearest neighbors"

    @renamed_arguments(neighbours="k")
    def __init__(
        self,
        data_root: str,
        interval: int = 10,
        k: int = 20,
        image_size: int | None = None,
        limit: int = 2000,
    ) -> None:
        super().__init__(interval, image_size)
        self.k = k
        self.files = {
            split: files[:: -(-len(files) // limit)]
            for split, files in list_labelled(Path(data_root)).items()
        }

    def evaluate(self, features: Callable[[Tensor], Tensor]) -> dict[str, float]:
        crop = v2.Compose(
            [v2.Resize(self.image_size), v2.CenterCrop(self.image_size), v2.PILToTensor()]
        )
        means: dict[str, Tensor] = {}
        labels: dict[str, Tensor] = {}
        for split, files in self.files.items():
            parts: list[Tensor] = []
            found: list[int] = []
            for batch in _batches(files, lambda file, label: (crop(read_rgb(file)), label)):
                images, of_batch = zip(*batch, strict=True)
                parts.append(features(torch.stack(images)).mean(dim=(2, 3)))
                found.extend(of_batch)
            means[split] = F.normalize(torch.cat(parts), dim=1)
            labels[split] = torch.tensor(found)
        predicted = knn_vote(means["val"], means["train"], labels["train"], self.k)
        return dict(top1=100 * (predicted == labels["val"]).float().mean().item())


@HOOKS.register_module()
class SegmentationProbeHook(_QuickSignal):
    """mIoU of a linear map from frozen patch features to classes, fitted by ridge regression.

    It is closer to dense prediction than nearest neighbors are, and takes seconds.

    Args:
        data_root: folder in ADE20K's layout: {images,annotations}/{training,validation}.
        num_classes: classes 1 to num_classes of the annotations; other values are ignored.
        interval: epochs between evaluations.
        image_size: side in pixels that images are resized to; None is the backbone's.
        ridge: of the regression, relative to the mean square of the features.
        limit: images per split.

    Raises:
        FileNotFoundError: one of the four folders, or the annotation of an image, is missing.
    """

    name = "segmentation probe"

    def __init__(
        self,
        data_root: str,
        num_classes: int,
        interval: int = 10,
        image_size: int | None = None,
        ridge: float = 1e-3,
        limit: int = 200,
    ) -> None:
        super().__init__(interval, image_size)
        self.num_classes, self.ridge = num_classes, ridge
        root = Path(data_root)
        self.files = {}
        for split in ("training", "validation"):
            images, annotations = root / "images" / split, root / "annotations" / split
            for folder in (images, annotations):
                if not folder.is_dir():
                    raise FileNotFoundError(
                        f"no folder '{folder}': the segmentation probe needs ADE20K's layout, "
                        "{images,annotations}/{training,validation}"
                    )
            self.files[split] = [
                (file, annotations / f"{file.stem}.png") for file in list_images(images)[:limit]
            ]
            if missing := [str(label) for _, label in self.files[split] if not label.is_file()]:
                raise FileNotFoundError(
                    f"{len(missing)} images of '{images}' have no annotation, the first '{missing[0]}'"
                )

    def evaluate(self, features: Callable[[Tensor], Tensor]) -> dict[str, float]:
        gram = products = torch.zeros(())
        for maps, labels in self._maps(features, "training"):
            x = maps.flatten(0, 2).double()
            y = self._shares(labels, (maps.shape[1], maps.shape[2])).flatten(0, 2)
            gram, products = gram + x.T @ x, products + x.T @ y
        ridge = self.ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        weights = torch.linalg.solve(gram + ridge, products)
        confusion = torch.zeros(self.num_classes, self.num_classes)
        for maps, labels in self._maps(features, "validation"):
            scores = (maps.double() @ weights).permute(0, 3, 1, 2).float()
            scores = F.interpolate(scores, labels.shape[1:], mode="bilinear", align_corners=False)
            known = labels > 0
            index = (labels[known] - 1) * self.num_classes + scores.argmax(dim=1)[known]
            confusion += index.bincount(minlength=confusion.numel()).view_as(confusion)
        hits = confusion.diagonal()
        union = confusion.sum(dim=0) + confusion.sum(dim=1) - hits
        return dict(mIoU=100 * (hits / union)[union > 0].mean().item())

    def _maps(
        self, features: Callable[[Tensor], Tensor], split: str
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Features (B, h, w, C + 1), the last a constant, and labels (B, H, W)."""
        assert self.image_size is not None, "before_train sets it"
        size = (self.image_size, self.image_size)
        to_tensor = v2.Compose([v2.Resize(size), v2.PILToTensor()])

        def read(image: Path, label: Path) -> tuple[Tensor, Tensor]:
            labels = np.asarray(Image.open(label).resize(size, Image.Resampling.NEAREST)).astype(
                np.int64
            )
            return to_tensor(read_rgb(image)), torch.from_numpy(labels)

        for batch in _batches(self.files[split], read):
            images, labels = (torch.stack(part) for part in zip(*batch, strict=True))
            maps = F.pad(features(images).permute(0, 2, 3, 1), (0, 1), value=1.0)
            yield maps, torch.where(labels <= self.num_classes, labels, 0)

    def _shares(self, labels: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, H, W) -> (B, h, w, classes): share of each class in each patch."""
        onehot = F.one_hot(labels, self.num_classes + 1)[..., 1:].permute(0, 3, 1, 2).double()
        return F.adaptive_avg_pool2d(onehot, grid).permute(0, 2, 3, 1)


def knn_vote(queries: Tensor, features: Tensor, labels: Tensor, k: int) -> Tensor:
    """Classes (Q,) of unit queries (Q, C), from unit features (N, C) with labels (N,)."""
    similarity, index = (queries @ features.T).topk(min(k, len(features)), dim=1)
    votes = torch.zeros(len(queries), int(labels.max()) + 1)
    return votes.scatter_add(1, labels[index], (similarity / 0.07).exp()).argmax(dim=1)


def _batches(items: list[tuple], read: Callable) -> Iterator[list[tuple]]:
    """`read(*item)` of each item, in batches; a file that cannot be read is named and skipped.

    Rank 0 evaluates alone, so an error here would leave the other ranks waiting.
    """
    batch = []
    for item in items:
        try:
            batch.append(read(*item))
        except Exception as error:  # a damaged file provokes any
            warnings.warn(f"skipped {item[0]}: {error}", stacklevel=2)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
