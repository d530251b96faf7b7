"""Print how each parameter of a config is trained: its layer, learning rate and weight decay.

python tools/print_layers.py CONFIG [--cfg-options KEY=VALUE ...]
"""

import argparse

from mmengine import Config, DictAction
from mmengine.registry import DefaultScope
from rich.console import Console
from rich.table import Table

import mmmim  # noqa: F401  registers the models
from mmmim.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    args = parser.parse_args()
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    wrapper = cfg.optim_wrapper
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(
            type="mmmim.LayerDecayOptimWrapperConstructor",
            optim_wrapper_cfg=wrapper,
            paramwise_cfg=wrapper.get("paramwise_cfg"),
        )
    )
    plans = constructor.plan(model)
    table = Table("parameter", "layer", "x lr", "lr", "weight decay")
    for plan in plans:
        rate = plan.lr_scale * wrapper.optimizer.lr
        table.add_row(
            plan.name, str(plan.layer), f"{plan.lr_scale:.4g}", f"{rate:.3g}", f"{plan.weight_decay:g}"
        )
    Console(width=110).print(table)
    trained = {plan.name for plan in plans}
    frozen = [name for name, _ in model.named_parameters() if name not in trained]
    print(f"{len(plans)} parameters are trained, {len(frozen)} are not: {', '.join(frozen) or 'none'}")


if __name__ == "__main__":
    main()
