"""mmmim: masked image modelling for dense prediction, on OpenMMLab.

Importing it registers everything. Start reading at `mmmim/methods/mae.py`.
"""

from mmmim import openmmlab

openmmlab.prepare()  # before anything below can import mmcv.ops

from mmmim import (  # noqa: E402
    backbones,
    checkpoints,
    data,
    decoders,
    hooks,
    methods,
    optim,
    transfer,
)
from mmmim.version import __version__  # noqa: E402

__all__ = [
    "__version__",
    "backbones",
    "checkpoints",
    "data",
    "decoders",
    "hooks",
    "methods",
    "openmmlab",
    "optim",
    "transfer",
]
