"""Shared by all tests."""

import sys
from pathlib import Path

import torch

import mmmim  # noqa: F401  (registers everything)

sys.path.insert(0, str(Path(__file__).parent / "parity"))
torch.set_num_threads(2)
