"""mmmim: masked image modeling for dense prediction, on OpenMMLab.

`import mmmim` registers everything. Start reading at `mmmim/methods/mae.py`.
"""

from mmmim import _compat

_compat.prepare()  # before anything below imports mmcv.ops

from mmmim import (  # noqa: E402
    atomic,
    backbones,
    checkpoints,
    data,
    engine,
    masking,
    methods,
    transfer,
)
from mmmim.engine import hooks  # noqa: E402
from mmmim.engine.resume import install_search  # noqa: E402
from mmmim.version import __version__  # noqa: E402

atomic.install_backend()
checkpoints.install_reader()
install_search()

__all__ = [
    "__version__",
    "backbones",
    "checkpoints",
    "data",
    "engine",
    "hooks",
    "masking",
    "methods",
    "transfer",
]
