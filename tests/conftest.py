"""Fixtures of all tests."""

import pytest
import torch
from mmengine.registry import DefaultScope

import mmmim  # noqa: F401  (registers everything)


@pytest.fixture(autouse=True)
def no_leftover_scope():
    """Reset the default scope, which a runner sets for the rest of the process."""
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture
def check_compiled_loss():
    """A function that checks that a method's loss compiles without graph break to the same value."""

    def check(model, images) -> None:
        torch._dynamo.reset()
        losses = []
        for loss in (model.loss, torch.compile(model.loss, fullgraph=True, backend="eager")):
            torch.manual_seed(0)
            losses.append(loss(images)["loss"])
        assert torch.equal(*losses)

    return check
