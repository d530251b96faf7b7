"""Shared by all tests."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope

import mmmim  # noqa: F401  (registers everything)

sys.path.insert(0, str(Path(__file__).parent / "parity"))
torch.set_num_threads(2)


@pytest.fixture(autouse=True)
def no_leftover_scope():
    """A runner sets the scope of its config for the rest of the process; a test starts without."""
    yield
    DefaultScope._instance_dict.clear()
