"""`Method`: what every pretraining method offers to runs, hooks and tools."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from mmengine.model import BaseModel, ImgDataPreprocessor, is_model_wrapper
from torch import Tensor, nn

from mmmim.backbones.base import Backbone
from mmmim.masking import PatchMask
from mmmim.visualization import Panel

# ImageNet's statistics in 0..255, as OpenMMLab's preprocessors hold them.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class Method(BaseModel):
    """A pretraining method: a `backbone`, a `loss`, and a `predict` to look at.

    `backbone.*` of its checkpoint is all that transfer reads.

    Attributes:
        backbone: the encoder that is pretrained.
        min_batch: fewest images whose panels are meaningful; MixMIM pairs images.
    """

    backbone: Backbone
    min_batch = 1

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "loss") -> Any:
        """Run one mode of OpenMMLab's forward.

        Args:
            inputs: (B, 3, H, W) float, normalized by the data preprocessor.
            data_samples: ignored.
            mode: "loss" returns a dict with `loss`, "tensor" the feature maps of the backbone,
                "predict" the tensors that `panels` shows.

        Raises:
            ValueError: another mode.
        """
        if mode == "loss":
            return self.loss(inputs)
        if mode == "tensor":
            return self.backbone(inputs)
        if mode == "predict":
            return self.predict(inputs)
        raise ValueError(f"mode must be 'loss', 'tensor' or 'predict', got '{mode}'")

    @abstractmethod
    def loss(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) normalized -> a dict with the scalar `loss`.

        Other entries are logged. Their keys must not contain "loss", or mmengine adds them to the
        objective.
        """

    @abstractmethod
    def draw_mask(self, images: Tensor) -> PatchMask:
        """(B, 3, H, W) normalized -> the masks of one training step."""

    @abstractmethod
    def encode(self, images: Tensor, mask: PatchMask) -> Tensor:
        """(B, 3, H, W) normalized and the masks of a step -> tokens of the encoder (N, T, D)."""

    @abstractmethod
    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) normalized -> a dict of tensors for `panels`, with `mask` (B, L)."""

    @abstractmethod
    def panels(self, images: Tensor) -> list[Panel]:
        """uint8 (B, 3, H, W) -> captioned columns that show `predict` on these images."""

    def timed_parts(self, images: Tensor) -> dict[str, Callable[[], object]]:
        """Parts of a training step on (B, 3, H, W) normalized images that can be timed alone."""
        return {}

    def grid_of(self, images: Tensor) -> tuple[int, int]:
        """(rows, columns) of patches of (B, 3, H, W) images."""
        p = self.backbone.patch_size
        return images.shape[2] // p, images.shape[3] // p

    def num_patches(self, images: Tensor) -> int:
        """L, the number of patches per image."""
        rows, columns = self.grid_of(images)
        return rows * columns

    def image_statistics(self) -> tuple[list[float], list[float]]:
        """Mean and deviation in 0..255 that normalize the images.

        ImageNet's without a data preprocessor; 0 and 1 if the preprocessor does not normalize.
        """
        preprocessor = self.data_preprocessor
        if not isinstance(preprocessor, ImgDataPreprocessor):
            return [*IMAGENET_MEAN], [*IMAGENET_STD]
        if not hasattr(preprocessor, "mean"):
            return [0.0] * 3, [1.0] * 3
        return preprocessor.mean.flatten().tolist(), preprocessor.std.flatten().tolist()

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) -> float, on the device of the model."""
        return self.data_preprocessor(dict(inputs=images))["inputs"]

    def denormalize(self, images: Tensor) -> Tensor:
        """Inverse of `normalize`, as float in 0..1 on the CPU."""
        mean, std = (images.new_tensor(v).view(-1, 1, 1) for v in self.image_statistics())
        return ((images * std + mean) / 255).clamp(0, 1).cpu()


def unwrap_model(model: nn.Module) -> Any:
    """The model of a runner without the wrapper for several processes."""
    return model.module if is_model_wrapper(model) else model
