"""Mixed precision on a GPU, full precision on a CPU, from one config."""

import torch
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper as GpuAmpOptimWrapper
from mmengine.optim import OptimWrapper

from mmmim.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
def AmpOptimWrapper(dtype: str | None = None, **kwargs) -> OptimWrapper:
    """mmengine's AmpOptimWrapper where there is a GPU, else its OptimWrapper, said once.

    Args:
        dtype: "bfloat16" or "float16"; None takes bfloat16 where the GPU has it. bfloat16 has the
            range of float32 and needs no loss scaling, which is where float16 runs turn to NaN.
        kwargs: of mmengine's OptimWrapper: optimizer, accumulative_counts, clip_grad; loss_scale,
            read with float16 only; and use_fsdp, which FSDPStrategy sets.
    """
    loss_scale = kwargs.pop("loss_scale", "dynamic")
    if not torch.cuda.is_available():
        kwargs.pop("use_fsdp", None)
        print_log("no GPU: training in float32; mixed precision is for GPUs", logger="current")
        return OptimWrapper(**kwargs)
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    dtype = dtype or ("bfloat16" if native else "float16")
    if dtype == "bfloat16":
        loss_scale = dict(enabled=False)
    return MixedOptimWrapper(dtype=dtype, loss_scale=loss_scale, **kwargs)


class MixedOptimWrapper(GpuAmpOptimWrapper):
    """mmengine's, which goes on in float16 from a checkpoint of bfloat16, on another kind of GPU."""

    def load_state_dict(self, state_dict: dict) -> None:
        if not state_dict.get("loss_scaler"):  # bfloat16 has no scale to go on with
            state_dict.pop("loss_scaler", None)
        super().load_state_dict(state_dict)
