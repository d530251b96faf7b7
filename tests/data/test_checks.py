import pytest

from mmmim.data.checks import check_data_roots
from tests.engine.configs import config


def test_missing_data_roots_are_named_with_their_variable(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COCO", "no/coco")
    for name in ("ADE20K", "SCENES"):
        monkeypatch.delenv(name, raising=False)
    dataset = dict(type="RepeatDataset", dataset=dict(type="CocoDataset", data_root="no/coco/"))
    ade = "data/ade/ADEChallengeData2016/"
    cfg = config(
        train_dataloader=dict(dataset=dataset),
        val_dataloader=dict(dataset=dict(type="ADE20KDataset", data_root=ade)),
        test_dataloader=dict(dataset=dict(type="CocoDataset", data_root="data/scenes/coco/")),
    )
    with pytest.raises(FileNotFoundError, match=r"no/coco/.*COCO=(.|\n)*data/ade/.*ADE20K="):
        check_data_roots(cfg, ("train_dataloader", "val_dataloader"))
    with pytest.raises(FileNotFoundError, match=r"no/coco/") as error:
        check_data_roots(cfg, ("train_dataloader",))
    assert "data/ade/" not in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"SCENES=.*mmmim make-scenes data/scenes"):
        check_data_roots(cfg, ("test_dataloader",))
