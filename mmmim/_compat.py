"""Make mmcv, mmpretrain, mmdet and mmseg importable and trainable on a clean machine.

The `onedl-mmcv` wheel installs without compiled operators, and `mmcv.ops`, `mmdet.models` and
`mmseg.models` import `mmcv._ext` at once. Detection and segmentation as configured here need three
operators of it (`nms`, `roi_align_forward`, `roi_align_backward`), and torchvision ships all three
compiled. `prepare()` registers a module `mmcv._ext` that answers with torchvision's; any other
operator imports, and raises with its name and the cure when it is called. A compiled `mmcv._ext`
is left alone.
"""

import importlib.machinery
import importlib.util
import sys
import types

import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)


class MissingOperator(RuntimeError):
    """An operator of compiled mmcv was called where only torchvision's are there."""


def prepare() -> None:
    """Idempotent; called by `import mmmim`, before anything imports `mmcv.ops`."""
    _provide_mmcv_operators()
    _disable_multimodal_mmpretrain()


def has_compiled_mmcv() -> bool:
    """Whether mmcv brings its own compiled operators."""
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
    # Where transformers >= 5 and pycocotools are installed, mmpretrain's multimodal models fail at
    # import ("NoneType takes no arguments") and take every other model with them. The switch is read
    # when mmpretrain.models is imported, so it must be set before; nothing here is multimodal.
    if importlib.util.find_spec("mmpretrain") is None or "mmpretrain.models" in sys.modules:
        return
    import mmpretrain.utils
    import mmpretrain.utils.dependency

    mmpretrain.utils.dependency.WITH_MULTIMODAL = False
    mmpretrain.utils.WITH_MULTIMODAL = False


class _TorchvisionOperators(types.ModuleType):
    """Stands in for `mmcv._ext`."""

    def __init__(self) -> None:
        super().__init__("mmcv._ext")
        # mmengine looks for the operators with importlib.util.find_spec, which reads this.
        self.__spec__ = importlib.machinery.ModuleSpec("mmcv._ext", loader=None)
        self.nms = nms
        self.roi_align_forward = roi_align_forward
        self.roi_align_backward = roi_align_backward

    def __getattr__(self, name: str):
        if name.startswith("__"):  # the import system and inspect probe for these
            raise AttributeError(name)

        def missing(*args, **kwargs):
            raise MissingOperator(
                f"mmcv's operator '{name}' is not available: this mmcv has no compiled operators, "
                "and torchvision has no equivalent of it. Install mmcv with compiled operators "
                "(build onedl-mmcv from source with MMCV_WITH_OPS=1 against the installed torch), "
                f"or use a model that does not need '{name}'."
            )

        return missing


def nms(boxes, scores, iou_threshold: float, offset: int):
    """mmcv's `nms`: indices of the kept boxes (N, 4), by falling score.

    `offset` 1 counts a box's right and bottom pixel in, which is what moving them by one does.
    """
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return torch.ops.torchvision.nms(boxes, scores, iou_threshold)


def roi_align_forward(
    input, rois, output, argmax_y, argmax_x,
    aligned_height, aligned_width, spatial_scale, sampling_ratio, pool_mode, aligned,
):  # fmt: skip
    """mmcv's `roi_align_forward`: writes (R, C, h, w) into `output`. Average pooling only."""
    _require_average(pool_mode)
    output.copy_(  # in float32: torchvision has no bfloat16 kernel
        torch.ops.torchvision.roi_align(
            input.float(), rois.float(), spatial_scale,
            aligned_height, aligned_width, sampling_ratio, aligned,
        )
    )  # fmt: skip


def roi_align_backward(
    grad_output, rois, argmax_y, argmax_x, grad_input,
    aligned_height, aligned_width, spatial_scale, sampling_ratio, pool_mode, aligned,
):  # fmt: skip
    """mmcv's `roi_align_backward`: adds the gradient of the input to `grad_input`."""
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
            "roi_align with pool_mode='max' needs mmcv with compiled operators; "
            "torchvision's averages. Set pool_mode='avg' (the default)."
        )
