"""Shared by all tests."""

import pytest
import torch
from mmengine.registry import DefaultScope

import mmmim  # noqa: F401  (registers everything)


@pytest.fixture(autouse=True)
def no_leftover_scope():
    """A runner sets the scope of its config for the rest of the process; a test starts without."""
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture
def check_compiled_loss():
    """A function: does a method's loss compile without a graph break, and stay what it was?"""

    def check(model, images) -> None:
        torch._dynamo.reset()
        losses = []
        for loss in (model.loss, torch.compile(model.loss, fullgraph=True, backend="eager")):
            torch.manual_seed(0)
            losses.append(loss(images)["loss"])
        assert torch.equal(*losses)

    return check
