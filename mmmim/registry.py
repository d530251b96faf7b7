"""One registry per kind, scope "mmmim", each a child of mmengine's root of that kind.

In an mmdet or mmseg config the scope is written out: `type="mmmim.ViT"`. Some have no entry of
ours: mmengine warns of a scope without a registry, and looks in the root through this one.
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
