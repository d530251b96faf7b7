"""What every method shares: OpenMMLab's forward."""

from mmengine.model import BaseModel
from torch import Tensor


class Method(BaseModel):
    """A method has a `backbone`, a `loss` and a `predict`; its forward chooses between them.

    `backbone.*` of a checkpoint is all that transfer reads.
    """

    def forward(self, inputs: Tensor, data_samples=None, mode: str = "loss"):
        """Run one mode on (B, 3, H, W) float images, normalised by the data preprocessor.

        mode="loss" returns a dict with `loss`, mode="tensor" the backbone's feature maps,
        mode="predict" a dict of what there is to look at.

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

    def count_patches(self, images: Tensor) -> int:
        """L, the number of patches of one image."""
        p = self.backbone.patch_size
        return (images.shape[2] // p) * (images.shape[3] // p)
