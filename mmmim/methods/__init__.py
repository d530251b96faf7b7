"""One file per paper. Start reading at `mae.py`."""

from mmmim.methods.convmae import ConvMAE, FastConvMAE
from mmmim.methods.lsmae import LSMAE
from mmmim.methods.mae import MAE
from mmmim.methods.maskalign import MaskAlign
from mmmim.methods.mixmim import MixMIM
from mmmim.methods.pixmim import PixMIM

__all__ = ["LSMAE", "MAE", "ConvMAE", "FastConvMAE", "MaskAlign", "MixMIM", "PixMIM"]
