import pytest

from mmmim.engine import load_config
from mmmim.engine.config import config_folder, find_config


def test_recipes_of_one_name_do_not_share_a_work_dir():
    dirs = {load_config(f"{m}/vit-b", suffix="_800e").work_dir for m in ("mae", "pixmim")}
    assert dirs == {"work_dirs/mae/vit-b_800e", "work_dirs/pixmim/vit-b_800e"}


def test_a_missing_config_says_where_configs_are():
    with pytest.raises(
        FileNotFoundError, match=r"no packaged config .*Packaged are mae/vit-b, mae/vit-l"
    ):
        find_config("mae/vit-x")
    with pytest.raises(FileNotFoundError, match=r"Packaged are .*detection/\.\.\., .*mae/\.\.\."):
        find_config("configs/nothing.py")


def test_a_packaged_config_is_found_by_name_outside_a_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = {find_config(name) for name in ("mae/vit-b", "mae/vit-b.py", "configs/mae/vit-b.py")}
    assert found == {config_folder() / "mae/vit-b.py"}
    (tmp_path / "mae").mkdir()
    (tmp_path / "mae/vit-b.py").write_text("x = 1")
    assert load_config("mae/vit-b.py").x == 1  # a file of that path takes precedence
