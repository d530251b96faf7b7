"""Updates that do nothing when a number is not finite, decided on the device."""

from typing import Any

import torch
import torch.distributed
from mmengine.dist import get_world_size
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class StepGuard:
    """Skips an update whose loss, on any rank, or gradient norm is not finite.

    Weights, moments, the optimizer's step count and running statistics of batch norm stay as they were.
    The norm must be finite when it is squared in float32, as Adam squares each gradient: a gradient of
    1e26 would leave an infinite second moment for ever.

    Fused optimizers get the decision as `found_inf`, as from a GradScaler, so no step waits for the
    device. Other optimizers have no such argument: they cost one host-device sync per update.

    Args:
        wrapper: whose `backward` and `step` are guarded.
        model: holds the statistics of batch norm.

    Attributes:
        skipped: scalar, 1 if the running step skipped its update, else 0.
        squared_norm: scalar, squared norm of all gradients of the update (in float16, times the squared
            loss scale); 0 while gradients are accumulated.
    """

    def __init__(self, wrapper: OptimWrapper, model: nn.Module) -> None:
        self._wrapper: Any = wrapper
        self._step, self._backward = wrapper.step, wrapper.backward
        self._parameters = [p for group in wrapper.optimizer.param_groups for p in group["params"]]
        self._is_sharded = get_world_size() > 1 and hasattr(self._parameters[0], "whole_shape")
        self._statistics = _statistics(model)
        self._before = [buffer.clone() for buffer in self._statistics]
        self._none = torch.zeros((), device=self._parameters[0].device)
        self.skipped = self.squared_norm = self._none
        self._wrapper.step, self._wrapper.backward = self.step, self.backward

    def remove(self) -> None:
        """Leave the optimizer unguarded."""
        self._wrapper.step, self._wrapper.backward = self._step, self._backward

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Backward pass; a loss that is not finite makes all gradients NaN, on all ranks."""
        self.skipped = self.squared_norm = self._none
        self._backward(loss * torch.where(loss.detach().isfinite(), 1.0, torch.nan), **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Update the parameters, or do nothing."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if gradients:
            self.squared_norm = self._squared_norm(gradients)
            self.skipped = (~self.squared_norm.isfinite()).float()
            self._refuse(gradients)
        self._step(**kwargs)
        self._restore_statistics()

    def _squared_norm(self, gradients: list[Tensor]) -> Tensor:
        norms = torch._foreach_norm(gradients, 2, dtype=torch.float32)
        squared = torch.linalg.vector_norm(torch.stack(norms)).square()
        if self._is_sharded:  # each rank has a part of each gradient
            torch.distributed.all_reduce(squared)
        return squared

    def _refuse(self, gradients: list[Tensor]) -> None:
        """Let the optimizer skip the update if `skipped` is 1."""
        optimizer = self._wrapper.optimizer
        scaler = getattr(self._wrapper, "loss_scaler", None)
        if scaler is not None and scaler.is_enabled():
            # The scaler looks at the gradients itself, and lowers its scale.
            torch._foreach_mul_(gradients, torch.where(self.skipped > 0, torch.nan, 1.0))
        elif getattr(optimizer, "_step_supports_amp_scaling", False):
            optimizer.grad_scale, optimizer.found_inf = None, self.skipped
        elif self.skipped:
            optimizer.zero_grad(set_to_none=True)  # optimizers pass over parameters without gradient

    def accept(self) -> None:
        """Drop accumulated gradients, and take the statistics of batch norm as they are now."""
        self._wrapper.optimizer.zero_grad()
        for now, before in zip(self._statistics, self._before, strict=True):
            before.copy_(now)

    def _restore_statistics(self) -> None:
        for now, before in zip(self._statistics, self._before, strict=True):
            now.copy_(torch.where(self.skipped > 0, before, now))
            before.copy_(now)


def is_healthy(model: nn.Module, optimizer: torch.optim.Optimizer) -> bool:
    """Whether all moments are finite and all weights have a finite square, on all ranks.

    A weight of 1e26 can leave the loss finite, and no update of a usual size removes it. Syncs with the
    device.
    """
    weights = [*model.parameters(), *_statistics(model)]  # other buffers may be infinite, as masks are
    moments = [value for state in optimizer.state.values() for value in state.values()]
    device = weights[0].device
    healthy = _largest(weights, device).square().isfinite() & _largest(moments, device).isfinite()
    if get_world_size() > 1:
        worst = healthy.int()
        torch.distributed.all_reduce(worst, torch.distributed.ReduceOp.MIN)
        return bool(worst)
    return bool(healthy)


def _statistics(model: nn.Module) -> list[Tensor]:
    """The buffers of batch norm."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    return [buffer for module in norms for buffer in module.buffers(recurse=False)]


def _largest(values: list[Any], device: torch.device) -> Tensor:
    """The largest magnitude, NaN if there is one."""
    numbers = [
        value.detach()
        for value in values
        if isinstance(value, Tensor) and value.is_floating_point() and value.numel()
    ]
    if not numbers:
        return torch.zeros((), device=device)
    # Step counts may be on the CPU.
    largest = [norm.float().to(device) for norm in torch._foreach_norm(numbers, torch.inf)]
    return torch.stack(largest).max()
