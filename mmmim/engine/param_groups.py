"""Parameter groups: layer-wise learning rates and who is exempt from weight decay."""

from dataclasses import dataclass

from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIMIZERS
from mmengine.utils.dl_utils.parrots_wrapper import SyncBatchNorm
from torch import nn

from mmmim.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS

# torch's own norms, exactly: detectron2 exempts these from weight decay (solver/build.py:203), and
# not its LayerNorm over channels, whose counterpart is torchvision's LayerNorm2d, a subclass.
NORMS = {
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.SyncBatchNorm,
    SyncBatchNorm,  # mmengine's subclass, which dict(type="SyncBN") builds
}


# One pass over all parameters instead of a few per tensor; the same update but for rounding.
FUSED = {name: dict(fused=True) for name in ("Adam", "AdamW", "SGD")}


SHARD = "_fsdp_wrapped_module."  # what FSDP puts into names


def whole(name: str, parameter: nn.Parameter) -> tuple[str, int]:
    """Name and number of dimensions, before FSDP sharded it (see `BlockFSDPStrategy`)."""
    shape = getattr(parameter, "whole_shape", parameter.shape)
    return getattr(parameter, "whole_name", name), len(shape)


@dataclass(frozen=True)
class ParameterPlan:
    """How one parameter is trained.

    Attributes:
        name: full name in the model.
        layer: its depth in the backbone; outside it, one more than the last.
        lr_scale: factor on the learning rate.
        weight_decay: its own weight decay.
    """

    name: str
    layer: int
    lr_scale: float
    weight_decay: float


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor:
    """Groups trainable parameters by learning rate and weight decay.

    A parameter of `backbone.layer_of(name)` = i learns at `layer_decay ** (n - i)` of the base
    rate, n = num_layers + 1; everything outside the backbone at the base rate.

    Args:
        optim_wrapper_cfg: config of the optim wrapper, with `optimizer`.
        paramwise_cfg: `layer_decay` (1.0), and factors on the weight decay: `flat_decay_mult` of
            1-D parameters, `norm_decay_mult` of norms, `bias_decay_mult` of biases, and
            `custom_keys` {part of a name: factor}, the longest match first. All default to 1;
            custom_keys go before norm, norm before bias, bias before flat. `lr_keys` {beginning of a
            name: factor} is on the learning rate, besides the layer's.

    Raises:
        ValueError: an unknown key in paramwise_cfg.
    """

    KEYS = {
        "layer_decay",
        "flat_decay_mult",
        "norm_decay_mult",
        "bias_decay_mult",
        "custom_keys",
        "lr_keys",
    }

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        self.wrapper = {"type": "OptimWrapper", **optim_wrapper_cfg}
        self.optimizer = self.wrapper.pop("optimizer")
        self.rules = dict(paramwise_cfg or {})
        if unknown := set(self.rules) - self.KEYS:
            raise ValueError(f"paramwise_cfg takes {sorted(self.KEYS)}, got also {sorted(unknown)}")

    def __call__(self, model: nn.Module) -> OptimWrapper:
        model = model.module if is_model_wrapper(model) else model
        plans = self.plan(model)
        parameters = {whole(name, p)[0]: p for name, p in model.named_parameters()}
        groups: dict[tuple, dict] = {}
        for plan in plans:
            group = groups.setdefault(
                (plan.lr_scale, plan.weight_decay),
                dict(
                    params=[],
                    lr=self.optimizer["lr"] * plan.lr_scale,
                    weight_decay=plan.weight_decay,
                ),
            )
            group["params"].append(parameters[plan.name])
        MMLogger.get_current_instance().info(summarise(plans))
        fused = FUSED.get(self.optimizer["type"], {})
        optimizer = OPTIMIZERS.build({**fused, **self.optimizer, "params": list(groups.values())})
        return OPTIM_WRAPPERS.build(self.wrapper, default_args=dict(optimizer=optimizer))

    def plan(self, model: nn.Module) -> list[ParameterPlan]:
        """What happens to every trainable parameter of `model`, in the model's order."""
        decay = self.rules.get("layer_decay", 1.0)
        last = model.backbone.num_layers + 1
        norms = {n.replace(SHARD, "") for n, m in model.named_modules() if type(m) in NORMS}
        plans = []
        for shard_name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            name, ndim = whole(shard_name, parameter)
            inside = name.startswith("backbone.")
            layer = model.backbone.layer_of(name.removeprefix("backbone.")) if inside else last
            is_norm = name.rpartition(".")[0] in norms
            factor = self._decay_factor(name, is_norm, ndim == 1)
            weight_decay = self.optimizer.get("weight_decay", 0.0) * factor
            scale = decay ** (last - layer) * self._rate_factor(name)
            plans.append(ParameterPlan(name, layer, scale, weight_decay))
        return plans

    def _rate_factor(self, name: str) -> float:
        factors = (f for key, f in self.rules.get("lr_keys", {}).items() if name.startswith(key))
        return next(factors, 1.0)

    def _decay_factor(self, name: str, is_norm: bool, is_flat: bool) -> float:
        rules = self.rules
        for key in sorted(rules.get("custom_keys", ()), key=len, reverse=True):
            if key in name:
                return rules["custom_keys"][key]
        if is_norm and "norm_decay_mult" in rules:
            return rules["norm_decay_mult"]
        if name.endswith(".bias") and "bias_decay_mult" in rules:
            return rules["bias_decay_mult"]
        return rules.get("flat_decay_mult", 1.0) if is_flat else 1.0


def summarise(plans: list[ParameterPlan]) -> str:
    """One line per group: layer, lr scale, weight decay, number of parameters tensors."""
    groups: dict[tuple, int] = {}
    for plan in plans:
        key = (plan.layer, plan.lr_scale, plan.weight_decay)
        groups[key] = groups.get(key, 0) + 1
    rows = (
        f"  layer {layer:>2}  lr x {scale:<8.4g} weight decay {decay:<6g} {count} tensors"
        for (layer, scale, decay), count in sorted(groups.items())
    )
    return "parameter groups:\n" + "\n".join(rows)
