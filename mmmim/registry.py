"""Registries with the scope "mmmim", each a child of mmengine's root registry of the same kind.

mmdet and mmseg configs need the scope in the name: `type="mmmim.ViT"`. Registries without an entry of
this project exist since mmengine warns if a scope lacks one; lookups then go on to the root.
"""

from mmengine import registry as root
from mmengine.registry import Registry


def _child(parent: Registry) -> Registry:
    return Registry(parent.name, parent=parent, scope="mmmim", locations=["mmmim"])


MODELS = _child(root.MODELS)
WEIGHT_INITIALIZERS = _child(root.WEIGHT_INITIALIZERS)
DATASETS = _child(root.DATASETS)
DATA_SAMPLERS = _child(root.DATA_SAMPLERS)
TRANSFORMS = _child(root.TRANSFORMS)
HOOKS = _child(root.HOOKS)
OPTIMIZERS = _child(root.OPTIMIZERS)
OPTIM_WRAPPERS = _child(root.OPTIM_WRAPPERS)
OPTIM_WRAPPER_CONSTRUCTORS = _child(root.OPTIM_WRAPPER_CONSTRUCTORS)
PARAM_SCHEDULERS = _child(root.PARAM_SCHEDULERS)
LOOPS = _child(root.LOOPS)
METRICS = _child(root.METRICS)
VISUALIZERS = _child(root.VISUALIZERS)
VISBACKENDS = _child(root.VISBACKENDS)
