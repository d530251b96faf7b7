"""Make mmcv, mmpretrain, mmdet and mmseg importable and trainable without compiled operators.

The `onedl-mmcv` wheel has no compiled operators, but `mmcv.ops`, `mmdet.models` and `mmseg.models`
import `mmcv._ext`. The detectors and segmenters of this project need three of its operators (`nms`,
`roi_align_forward`, `roi_align_backward`), which torchvision has compiled. `prepare()` registers a
module `mmcv._ext` that calls torchvision's operators. Any other operator can be imported, and raises
`MissingOperator` when it is called. A compiled `mmcv._ext` is used as it is.
"""

import importlib.machinery
import importlib.util
import sys
import types
from typing import Any, NoReturn

import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)
from torch import Tensor


class MissingOperator(RuntimeError):
    """An operator was called that only mmcv with compiled operators has."""


def prepare() -> None:
    """Register torchvision's operators, and disable mmpretrain's multimodal models.

    `import mmmim` calls this before anything imports `mmcv.ops`. A second call has no effect.
    """
    _provide_mmcv_operators()
    _disable_multimodal_mmpretrain()


def has_compiled_mmcv() -> bool:
    """Whether mmcv is installed with compiled operators of its own."""
    return not isinstance(sys.modules.get("mmcv._ext"), _TorchvisionOperators) and (
        importlib.util.find_spec("mmcv") is not None
        and importlib.util.find_spec("mmcv._ext") is not None
    )


def _provide_mmcv_operators() -> None:
    if importlib.util.find_spec("mmcv") is None or "mmcv._ext" in sys.modules:
        return
    if importlib.util.find_spec("mmcv._ext") is None:
        sys.modules["mmcv._ext"] = _TorchvisionOperators()


def _disable_multimodal_mmpretrain() -> None:
    # With transformers >= 5 and pycocotools, mmpretrain's multimodal models fail on import ("NoneType
    # takes no arguments"), and with them all other models. mmpretrain.models reads the switch on
    # import, so it must be set before. This project uses no multimodal model.
    if importlib.util.find_spec("mmpretrain") is None or "mmpretrain.models" in sys.modules:
        return
    import mmpretrain.utils
    import mmpretrain.utils.dependency

    mmpretrain.utils.dependency.WITH_MULTIMODAL = False
    mmpretrain.utils.WITH_MULTIMODAL = False


class _TorchvisionOperators(types.ModuleType):
    """Replacement of the module `mmcv._ext`."""

    def __init__(self) -> None:
        super().__init__("mmcv._ext")
        # mmengine looks for the operators with importlib.util.find_spec, which reads `__spec__`.
        self.__spec__ = importlib.machinery.ModuleSpec("mmcv._ext", loader=None)
        self.nms = nms
        self.roi_align_forward = roi_align_forward
        self.roi_align_backward = roi_align_backward

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system and inspect probe for these
            raise AttributeError(name)

        def missing(*args: Any, **kwargs: Any) -> NoReturn:
            raise MissingOperator(
                f"mmcv's operator '{name}' is not available: mmcv was built without compiled "
                "operators, and torchvision has no equivalent. Install mmcv with compiled operators "
                "(build onedl-mmcv from source with MMCV_WITH_OPS=1 against the installed torch), "
                f"or use a model that does not need '{name}'"
            )

        return missing


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """mmcv's `nms`: indices of the boxes to keep, by descending score.

    Args:
        boxes: (N, 4), left, top, right and bottom in pixels.
        scores: (N,).
        iou_threshold: boxes that overlap a better one by more than this are dropped.
        offset: 1 if the right and bottom pixels belong to the box, which moves these sides by one;
            else 0.
    """
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return torch.ops.torchvision.nms(boxes, scores, iou_threshold)


def roi_align_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor,
    aligned_height: int, aligned_width: int, spatial_scale: float, sampling_ratio: int, pool_mode: int,
    aligned: bool,
) -> None:  # fmt: skip
    """mmcv's `roi_align_forward`: writes (R, C, h, w) to `output`.

    Raises:
        MissingOperator: `pool_mode` is not average pooling.
    """
    _require_average(pool_mode)
    output.copy_(  # in float32: torchvision has no bfloat16 kernel
        torch.ops.torchvision.roi_align(
            input.float(), rois.float(), spatial_scale,
            aligned_height, aligned_width, sampling_ratio, aligned,
        )
    )  # fmt: skip


def roi_align_backward(
    grad_output: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor, grad_input: Tensor,
    aligned_height: int, aligned_width: int, spatial_scale: float, sampling_ratio: int, pool_mode: int,
    aligned: bool,
) -> None:  # fmt: skip
    """mmcv's `roi_align_backward`: adds the gradient of the input to `grad_input`.

    Raises:
        MissingOperator: `pool_mode` is not average pooling.
    """
    _require_average(pool_mode)
    grad_input.add_(
        torch.ops.torchvision._roi_align_backward(
            grad_output.float().contiguous(), rois.float(), spatial_scale,
            aligned_height, aligned_width, *grad_input.shape, sampling_ratio, aligned,
        )
    )  # fmt: skip


def _require_average(pool_mode: int) -> None:
    if pool_mode != 1:  # mmcv/ops/roi_align.py: 0 is max, 1 is avg
        raise MissingOperator(
            "roi_align with pool_mode='max' needs mmcv with compiled operators, since torchvision "
            "supports average pooling only: set pool_mode='avg' (the default)"
        )
