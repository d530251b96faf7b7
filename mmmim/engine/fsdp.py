"""FSDP of pretraining methods, block by block."""

from typing import Any

import torch
from mmengine._strategy import FSDPStrategy
from mmengine.dist import all_gather_object, get_rank, get_world_size, is_main_process
from mmengine.optim import OptimWrapper
from mmengine.registry import FUNCTIONS, STRATEGIES
from torch import Tensor, nn
from torch.distributed import gather_object

from mmmim.backbones.conv_stages import ConvBlock
from mmmim.backbones.mixed_windows import WindowBlock
from mmmim.layers.block import Block


@FUNCTIONS.register_module()
def wrap_blocks(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """FSDP's `auto_wrap_policy`: shard and gather each block of a backbone or decoder as a unit."""
    return recurse or isinstance(module, (Block, ConvBlock, WindowBlock))


@STRATEGIES.register_module()
class BlockFSDPStrategy(FSDPStrategy):
    """mmengine's FSDPStrategy that also works on CPUs and with the methods' parameter groups.

    Parameter groups depend on a parameter's name and shape, which sharding changes, so each parameter
    keeps the original ones as `whole_name` and `whole_shape`. Checkpoints are unsharded, equal those
    of a single process, and load without FSDP.
    """

    def __init__(self, **kwargs: Any) -> None:
        wrapper = dict(type="MMFullyShardedDataParallel", auto_wrap_policy="wrap_blocks")
        # Offloading is for GPUs; on a CPU it crashes (torch 2.11).
        offload = dict(offload_to_cpu=True, rank0_only=True) if torch.cuda.is_available() else {}
        whole = dict(
            state_dict_type="FULL_STATE_DICT",
            state_dict_config=dict(type="FullStateDictConfig", **offload),
            optim_state_dict_config=dict(type="FullOptimStateDictConfig", **offload),
        )
        super().__init__(model_wrapper=wrapper, state_dict_cfg=whole, **kwargs)

    def build_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """Build the model, and note each parameter's name and shape before sharding."""
        built: Any = super().build_model(model)
        for name, parameter in built.named_parameters():
            parameter.whole_name, parameter.whole_shape = name, parameter.shape
        return built

    def build_optim_wrapper(self, optim_wrapper: Any, model: nn.Module | None = None) -> OptimWrapper:
        """Build the optim wrapper.

        Raises:
            ValueError: float16 with loss scaling. With a fused optimizer each rank checks only its own
                shard for overflow, so some ranks would skip a step that others take (torch 2.11,
                amp/grad_scaler.py:GradScaler.step).
        """
        built = super().build_optim_wrapper(optim_wrapper, model)
        scaler = getattr(built, "loss_scaler", None)
        if scaler is not None and scaler.is_enabled():
            raise ValueError(
                "--fsdp supports bfloat16 or float32, got float16 with loss scaling: set "
                "optim_wrapper.dtype=bfloat16 or, on a GPU without bfloat16, remove --fsdp or --amp"
            )
        return built

    def optim_state_dict(self) -> dict:
        """The state dict of an optimizer of unsharded parameters, complete on rank 0 only.

        Rank 0, which writes the checkpoint, gathers one parameter at a time. FSDP's own function gave
        wrong results on a CPU (torch 2.11), and mmengine calls it with the arguments of torch 2.0. A
        shard is a contiguous slice of the flattened parameter, in the order of the ranks.
        """
        optimizer = self.optim_wrapper.optimizer
        state = {}
        for i, parameter in enumerate(_parameters(optimizer)):
            mine = {key: value.cpu() for key, value in optimizer.state.get(parameter, {}).items()}
            shards: Any = [{}] * get_world_size() if is_main_process() else None
            gather_object(mine, shards)
            if shards:
                state[i] = _join(shards, parameter.whole_shape)
        return {**self.optim_wrapper.state_dict(), "state": state}

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load a state dict of `optim_state_dict` or a plain optimizer; each rank takes its slices."""
        parameters = _parameters(self.optim_wrapper.optimizer)
        lengths = all_gather_object([p.numel() for p in parameters])
        state = {}
        for i, shard_lengths in enumerate(zip(*lengths, strict=True)):
            start = sum(shard_lengths[: get_rank()])
            stop = start + shard_lengths[get_rank()]
            state[i] = {
                # Copied, since a view would keep the whole moment in memory.
                key: value.flatten()[start:stop].clone() if value.ndim else value
                for key, value in state_dict["state"].get(i, {}).items()
            }
        self.optim_wrapper.load_state_dict({**state_dict, "state": state})

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        if not torch.cuda.is_available():
            self.model_wrapper["device_id"] = torch.device("cpu")
        return super()._wrap_model(model)


def _parameters(optimizer: torch.optim.Optimizer) -> list[Any]:
    """All parameters, in the order in which a state dict numbers them."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def _join(shards: list[dict[str, Tensor]], shape: torch.Size) -> dict[str, Tensor]:
    """Concatenate the shards' moments to `shape`; take scalars, such as the step, from the first."""
    found = [shard for shard in shards if shard]
    return {
        key: torch.cat([s[key] for s in found]).view(shape) if value.ndim else value
        for key, value in (found[0] if found else {}).items()
    }
