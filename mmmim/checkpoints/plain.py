"""The log history of a run as tensors, so that a checkpoint passes `torch.load(weights_only=True)`."""

from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor


def to_plain(value: Any) -> Any:
    """Turn mmengine's log history, numpy's values and subclasses of dict into tensors and plain values.

    What has no plain form is kept as it is.
    """
    if isinstance(value, HistoryBuffer):
        log, count = value.data
        return dict(log=torch.tensor(log), count=torch.tensor(count), max_length=value.max_length)
    if isinstance(value, Tensor):
        return value.detach()  # without attributes, such as FSDP's, which need other functions to read
    if isinstance(value, np.ndarray) and value.dtype.kind in "?biuf":
        return torch.from_numpy(value.copy())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {to_plain(key): to_plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(to_plain(item) for item in value)
    return value


def to_history(scalars: dict[str, Any]) -> dict[str, Any]:
    """Undo `to_plain` for `message_hub["log_scalars"]`."""
    return {
        name: value
        if isinstance(value, HistoryBuffer)
        else HistoryBuffer(value["log"].numpy(), value["count"].numpy(), value["max_length"])
        for name, value in scalars.items()
    }
