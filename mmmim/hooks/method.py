"""The method that a run trains."""

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmmim.methods.base import Method


def method_of(runner: Runner) -> Method:
    """The runner's model, without what several processes wrap it in."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
