"""Training runs of experiments, with a fake training that takes no time."""

import json
import sys
from pathlib import Path

import pytest

from mmmim.experiments import comparison as compare
from mmmim.experiments import training as experiment
from mmmim.experiments.training import Training, TrainingFailed, run_all

# Writes the files of mmengine: a log, a checkpoint, scalars.
FAKE = """
import json, pathlib, sys
work = pathlib.Path(sys.argv[sys.argv.index("--work-dir") + 1])
if "fail" in sys.argv[1]:
    raise SystemExit("a reason")
resumed = "--resume" in sys.argv
scalars = work / ("2" if resumed else "1") / "vis_data" / "scalars.json"
scalars.parent.mkdir(parents=True)
steps = (20, 30) if resumed else (10, 20)
lines = [json.dumps(dict(step=s, loss=100 / s, time=0.5)) for s in steps]
if resumed:
    lines.append(json.dumps({"coco/bbox_mAP": 0.25, "coco/segm_mAP": 0.125, "step": 30}))
else:
    lines.append('{"step": 2')  # cut by the interruption
scalars.write_text("\\n".join(lines))
(work / "last_checkpoint").write_text(str(work / "epoch_3.pth"))
if not resumed:
    raise SystemExit(9)
"""


@pytest.fixture
def fake_train(tmp_path, monkeypatch):
    script = tmp_path / "train.py"
    script.write_text(FAKE)
    monkeypatch.setattr(experiment, "TRAIN", (sys.executable, str(script)))


def test_an_interrupted_training_goes_on_and_is_measured_once(fake_train, tmp_path):
    training = Training("one", "config.py", tmp_path / "one")
    with pytest.raises(TrainingFailed, match="'one' failed"):
        run_all([training], {})
    (result,) = run_all([training], {})
    assert result.metrics == {"box AP": 25.0, "mask AP": 12.5}
    assert result.losses == [(10, 10.0), (20, 5.0), (30, 100 / 30)]
    assert result.seconds == 15.0  # 30 steps of 0.5 s; repeated steps count once
    assert training.checkpoint().name == "epoch_3.pth"

    before = (tmp_path / "one/result.json").stat().st_mtime_ns
    assert run_all([training], {}) == [result]
    assert (tmp_path / "one/result.json").stat().st_mtime_ns == before


def test_another_training_does_not_go_on_from_an_interrupted_one(fake_train, tmp_path):
    for config, message in (("config.py", "'one' failed"), ("other.py", "another command")):
        with pytest.raises(TrainingFailed, match=message):
            run_all([Training("one", config, tmp_path / "one")], {})


def test_a_failure_shows_the_end_of_its_log(fake_train, tmp_path):
    with pytest.raises(TrainingFailed, match="a reason"):
        run_all([Training("two", "fail.py", tmp_path / "two")], {})


def test_the_table_gives_mean_range_and_gain():
    table = {
        compare.Start("scratch", None, 0, (0, 1)): {"mIoU": [30.0, 32.0]},
        compare.Start("pixmim, 10 epochs", Path("x"), 10, (0,)): {"mIoU": [31.0]},
        compare.Start("pixmim, 100 epochs", Path("y"), 100, (0, 1)): {"mIoU": [35.0, 39.0]},
    }
    text = compare.markdown(table)
    assert "| scratch | 2 | 31.0 (30.0 to 32.0) |" in text
    assert "| pixmim, 10 epochs | 1 | 31.0, gain +1.0 |" in text  # over scratch with the same seed
    assert "| pixmim, 100 epochs | 2 | 37.0 (35.0 to 39.0), gain +6.0 |" in text


def test_a_result_survives_writing(tmp_path):
    result = experiment.Result({"mIoU": 3.0}, [(1, 2.0)], 1.0, 2.0, ["a"])
    experiment._save(result, tmp_path / "result.json")
    assert experiment._load(tmp_path / "result.json") == result
    assert json.loads((tmp_path / "result.json").read_text())["memory_mb"] == 2.0
