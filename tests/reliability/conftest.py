"""Data and an uninterrupted run for the tests of reliability."""

import pytest

from tests.reliability.runs import draw_photos, losses, pretraining, train


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    return draw_photos(tmp_path_factory.mktemp("photos") / "images")


@pytest.fixture(scope="session")
def whole(photos, tmp_path_factory):
    """Losses of a run of three epochs that nothing interrupted."""
    work_dir = tmp_path_factory.mktemp("whole") / "run"
    train(pretraining(photos, work_dir))
    return losses(work_dir)
