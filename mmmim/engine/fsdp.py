"""Sharding a method's weights over processes, block by block."""

import torch
from mmengine._strategy import FSDPStrategy
from mmengine.dist import all_gather_object, get_rank, get_world_size, is_main_process
from mmengine.optim import OptimWrapper
from mmengine.registry import FUNCTIONS, STRATEGIES
from torch import Tensor, nn
from torch.distributed import gather_object

from mmmim.layers.conv_block import ConvBlock
from mmmim.layers.transformer import Block
from mmmim.layers.window_block import WindowBlock


@FUNCTIONS.register_module()
def wrap_blocks(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """FSDP's `auto_wrap_policy`: each block of a backbone or decoder is gathered as one."""
    return recurse or isinstance(module, (Block, ConvBlock, WindowBlock))


@STRATEGIES.register_module()
class BlockFSDPStrategy(FSDPStrategy):
    """mmengine's FSDPStrategy for the methods: on a CPU too, and with their parameter groups.

    A shard has neither the name nor the shape that weight decay is decided by, so each parameter
    keeps them as `whole_name` and `whole_shape`. Checkpoints are whole, as a single process writes
    them, and load without FSDP.
    """

    def __init__(self, **kwargs) -> None:
        wrapper = dict(type="MMFullyShardedDataParallel", auto_wrap_policy="wrap_blocks")
        # On a CPU there is nothing to offload, and FSDP dies of it (torch 2.11).
        offload = dict(offload_to_cpu=True, rank0_only=True) if torch.cuda.is_available() else {}
        whole = dict(
            state_dict_type="FULL_STATE_DICT",
            state_dict_config=dict(type="FullStateDictConfig", **offload),
            optim_state_dict_config=dict(type="FullOptimStateDictConfig", **offload),
        )
        super().__init__(model_wrapper=wrapper, state_dict_cfg=whole, **kwargs)

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        model = super().build_model(model)
        for name, parameter in model.named_parameters():
            parameter.whole_name, parameter.whole_shape = name, parameter.shape
        return model

    def build_optim_wrapper(self, optim_wrapper, model: nn.Module | None = None) -> OptimWrapper:
        """Raises ValueError for float16.

        A fused optimiser asks its own process alone whether a gradient overflowed, so that some
        would take a step and others not (torch 2.11, amp/grad_scaler.py:GradScaler.step).
        """
        built = super().build_optim_wrapper(optim_wrapper, model)
        scaler = getattr(built, "loss_scaler", None)
        if scaler is not None and scaler.is_enabled():
            raise ValueError(
                "--fsdp trains in bfloat16 or float32, got float16 with loss scaling: set "
                "optim_wrapper.dtype=bfloat16, or leave --fsdp or --amp out on a GPU without it"
            )
        return built

    def optim_state_dict(self) -> dict:
        """What a plain optimiser of whole parameters would give.

        Only the first process, which writes it, gets it; the others send theirs, a parameter at a time.
        FSDP's own came out wrong on a CPU (torch 2.11), and mmengine calls it as torch 2.0 asked. A
        shard is a stretch of the flattened parameter, in the order of the processes.
        """
        optimizer = self.optim_wrapper.optimizer
        state = {}
        for i, parameter in enumerate(_parameters(optimizer)):
            mine = {key: value.cpu() for key, value in optimizer.state.get(parameter, {}).items()}
            shards = [{}] * get_world_size() if is_main_process() else None
            gather_object(mine, shards)
            if shards:
                state[i] = _join(shards, parameter.whole_shape)
        return {**self.optim_wrapper.state_dict(), "state": state}

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Each process takes its stretch of what `optim_state_dict`, or a plain optimiser, gave."""
        parameters = _parameters(self.optim_wrapper.optimizer)
        lengths = all_gather_object([p.numel() for p in parameters])
        state = {}
        for i, of_all in enumerate(zip(*lengths, strict=True)):
            start = sum(of_all[: get_rank()])
            stop = start + of_all[get_rank()]
            state[i] = {
                # A copy: the view would keep the whole moment alive beside its stretch.
                key: value.flatten()[start:stop].clone() if value.ndim else value
                for key, value in state_dict["state"].get(i, {}).items()
            }
        self.optim_wrapper.load_state_dict({**state_dict, "state": state})

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        if not torch.cuda.is_available():
            self.model_wrapper["device_id"] = torch.device("cpu")
        return super()._wrap_model(model)


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """In the order in which a state_dict counts them."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def _join(shards: list[dict[str, Tensor]], shape: torch.Size) -> dict[str, Tensor]:
    """Moments of the whole parameter; of what has no dimensions, such as the step, one is taken."""
    found = [shard for shard in shards if shard]
    return {
        key: torch.cat([s[key] for s in found]).view(shape) if value.ndim else value
        for key, value in (found[0] if found else {}).items()
    }
