"""`mmmim replay` runs a step with the images, crops and mask that it had."""

import math

import pytest

from mmmim.engine.replay import replay
from tests.reliability.runs import pretraining, train


def test_a_step_has_the_loss_that_it_had(photos, tmp_path, whole, capsys):
    train(pretraining(photos, tmp_path / "run"))
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    # The first step after a checkpoint has the very weights of the run.
    found = replay(tmp_path / "run", 6)
    assert found["loss"] == pytest.approx(whole[7], rel=1e-6)
    said = capsys.readouterr().out
    assert said.count(".png") == 4
    assert "epoch_1.pth" in said
    assert "backbone.blocks.0" in said
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before
    assert replay(tmp_path / "run", 3)["loss"] != found["loss"]
    assert math.isfinite(replay(tmp_path / "run", 0)["loss"])


def test_a_folder_without_a_training_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no config"):
        replay(tmp_path, 0)
