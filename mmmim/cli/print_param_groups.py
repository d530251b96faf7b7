"""Print the depth, learning rate and weight decay of every parameter of a config."""

import argparse

from mmengine.registry import DefaultScope
from rich.console import Console
from rich.table import Table

from mmmim.cli.arguments import add_cfg_options, add_config
from mmmim.engine import load_config
from mmmim.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> None:
    cfg = load_config(args.config, args.cfg_options)
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
    table = Table("parameter", "depth", "lr scale", "lr", "weight decay")
    for plan in plans:
        rate = plan.lr_scale * wrapper.optimizer.lr
        table.add_row(
            plan.name, str(plan.layer), f"{plan.lr_scale:.4g}", f"{rate:.3g}", f"{plan.weight_decay:g}"
        )
    Console(width=110).print(table)
    trained = {plan.name for plan in plans}
    frozen = [name for name, _ in model.named_parameters() if name not in trained]
    print(f"{len(plans)} parameters are trained, {len(frozen)} are not: {', '.join(frozen) or 'none'}")
