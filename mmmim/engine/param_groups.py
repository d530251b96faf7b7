"""Parameter groups: layer-wise learning rates, and exemptions from weight decay."""

from dataclasses import dataclass
from typing import Any

from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIMIZERS
from mmengine.utils.dl_utils.parrots_wrapper import SyncBatchNorm
from torch import nn

from mmmim.methods.base import unwrap_model
from mmmim.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS

# Exactly these types, without subclasses: detectron2 exempts torch's norms from weight decay
# (solver/build.py:203), but not its own LayerNorm over channels. The latter corresponds to
# torchvision's LayerNorm2d, a subclass of nn.LayerNorm.
NORMS = {
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.SyncBatchNorm,
    SyncBatchNorm,  # mmengine's subclass, which dict(type="SyncBN") builds
}


# A fused optimizer updates all parameters in one pass; the result differs by rounding only.
FUSED = {name: dict(fused=True) for name in ("Adam", "AdamW", "SGD")}


SHARD = "_fsdp_wrapped_module."  # FSDP inserts this into parameter names


def whole(name: str, parameter: nn.Parameter) -> tuple[str, int]:
    """Name and number of dimensions of a parameter before FSDP (see `BlockFSDPStrategy`)."""
    shape = getattr(parameter, "whole_shape", parameter.shape)
    return getattr(parameter, "whole_name", name), len(shape)


@dataclass(frozen=True)
class ParameterPlan:
    """Depth, learning rate and weight decay of one parameter.

    Attributes:
        name: full name in the model.
        layer: depth in the backbone (`get_layer_depth`); `num_layers` + 1 outside the backbone.
        lr_scale: factor on the base learning rate.
        weight_decay: weight decay of this parameter.
    """

    name: str
    layer: int
    lr_scale: float
    weight_decay: float


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor:
    """Groups trainable parameters by learning rate and weight decay.

    A backbone parameter at depth i = `backbone.get_layer_depth(name)` gets the base learning rate times
    `layer_decay ** (n - i)`, n = `num_layers` + 1; parameters outside the backbone get the base rate.
    Adam, AdamW and SGD are fused unless the config sets `fused`.

    Args:
        optim_wrapper_cfg: config of the optim wrapper, with `optimizer`.
        paramwise_cfg: the rules; all are optional, and all factors default to 1.
            `layer_decay`: learning rate of a layer, relative to the next one.
            `lr_keys`: {prefix of a name: factor on the learning rate}, in addition to `layer_decay`.
            The first of these that applies is the factor on the weight decay:
            `custom_keys`: {part of a name: factor}, the longest match first.
            `norm_decay_mult`: factor for norms.
            `bias_decay_mult`: factor for biases.
            `flat_decay_mult`: factor for 1-D parameters.

    Raises:
        ValueError: `paramwise_cfg` has an unknown key.
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
            raise ValueError(
                f"the keys of paramwise_cfg must be among {sorted(self.KEYS)}, got {sorted(unknown)}"
            )

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optim wrapper of a model with a `backbone`, and log the parameter groups."""
        model = unwrap_model(model)
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
        MMLogger.get_current_instance().info(summarize(plans))
        fused = FUSED.get(self.optimizer["type"], {})
        optimizer = OPTIMIZERS.build({**fused, **self.optimizer, "params": list(groups.values())})
        return OPTIM_WRAPPERS.build(self.wrapper, default_args=dict(optimizer=optimizer))

    def plan(self, model: Any) -> list[ParameterPlan]:
        """The plan of every trainable parameter of `model`, in the model's order."""
        decay = self.rules.get("layer_decay", 1.0)
        last = model.backbone.num_layers + 1
        norms = {n.replace(SHARD, "") for n, m in model.named_modules() if type(m) in NORMS}
        plans = []
        for shard_name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            name, ndim = whole(shard_name, parameter)
            inside = name.startswith("backbone.")
            layer = model.backbone.get_layer_depth(name.removeprefix("backbone.")) if inside else last
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


def summarize(plans: list[ParameterPlan]) -> str:
    """One line per group: depth, lr scale, weight decay, number of parameter tensors."""
    groups: dict[tuple, int] = {}
    for plan in plans:
        key = (plan.layer, plan.lr_scale, plan.weight_decay)
        groups[key] = groups.get(key, 0) + 1
    rows = (
        f"  depth {layer:>2}  lr x {scale:<8.4g} weight decay {decay:<6g} {count} tensors"
        for (layer, scale, decay), count in sorted(groups.items())
    )
    return "parameter groups:\n" + "\n".join(rows)
