import pytest

from mmmim.atomic import write_atomically, write_table, write_text


def test_a_file_is_replaced_only_when_all_is_written(tmp_path):
    path = tmp_path / "new folder/result.txt"
    write_text(path, "whole ä")

    def interrupted() -> None:
        with write_atomically(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text(encoding="utf-8") == "whole ä"
    assert [p.name for p in path.parent.iterdir()] == ["result.txt"]  # nothing is left behind


def test_a_table_keeps_a_dot_in_its_prefix(tmp_path, capsys):
    write_table(tmp_path / "v0.2", "| a |\n", dict(a=1))
    assert (tmp_path / "v0.2.md").read_text() == "| a |\n"
    assert (tmp_path / "v0.2.json").is_file()
    assert "v0.2.md and" in capsys.readouterr().out
