"""Mixed precision on a GPU, full precision on a CPU, from one config."""

from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper as GpuAmpOptimWrapper
from mmengine.optim import OptimWrapper

from mmmim.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
def AmpOptimWrapper(dtype: str | None = None, **kwargs: Any) -> OptimWrapper:
    """mmengine's AmpOptimWrapper on a GPU, its OptimWrapper on a CPU, with a note in the log.

    Args:
        dtype: "bfloat16" or "float16"; None is bfloat16 on GPUs that support it. bfloat16 has the range
            of float32 and needs no loss scaling, whose failures turn float16 runs to NaN.
        kwargs: of mmengine's OptimWrapper: optimizer, accumulative_counts, clip_grad; loss_scale, used
            with float16 only; and use_fsdp, which FSDPStrategy sets.
    """
    loss_scale = kwargs.pop("loss_scale", "dynamic")
    if not torch.cuda.is_available():
        kwargs.pop("use_fsdp", None)
        print_log("no GPU: training in float32, mixed precision is for GPUs", logger="current")
        return OptimWrapper(**kwargs)
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    dtype = dtype or ("bfloat16" if native else "float16")
    if dtype == "bfloat16":
        loss_scale = dict(enabled=False)
    return MixedOptimWrapper(dtype=dtype, loss_scale=loss_scale, **kwargs)


class MixedOptimWrapper(GpuAmpOptimWrapper):
    """mmengine's AmpOptimWrapper that resumes in float16 from a checkpoint of bfloat16."""

    def load_state_dict(self, state_dict: dict) -> None:
        if not state_dict.get("loss_scaler"):  # bfloat16 saves no scale
            state_dict.pop("loss_scaler", None)
        super().load_state_dict(state_dict)
