"""The command `mmmim`: every argument has a help text, and the scripts in tools/ run the same code."""

import importlib
import re
from pathlib import Path

import pytest

from mmmim.cli import COMMANDS, build_command_parser, build_parser, main
from mmmim.version import __version__

ROOT = Path(__file__).parents[2]


def test_the_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as end:
        main(argv=["--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    for name, (_, summary) in COMMANDS.items():
        assert re.search(rf"^\s+{name}\s", out, flags=re.M)
        assert summary.split()[0] in out


def test_the_version(capsys):
    with pytest.raises(SystemExit):
        main(argv=["--version"])
    assert capsys.readouterr().out.strip() == f"mmmim {__version__}"


def _actions(parser):
    for action in parser._actions:
        yield action
        for sub in getattr(action, "choices", None) or ():
            if hasattr(action.choices, "values") and hasattr(action.choices[sub], "_actions"):
                yield from _actions(action.choices[sub])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_is_explained(command):
    parser = build_command_parser(command)
    assert parser.description
    for action in _actions(parser):
        assert action.help or action.nargs == "A...", action.dest
        assert "%" not in (action.help or "").replace("%(default)s", ""), action.dest
    parser.format_help()  # this formats the defaults


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_the_same_below_mmmim_and_as_a_script(command):
    own = {o for action in build_command_parser(command)._actions for o in action.option_strings}
    sub = build_parser(command)._subparsers._group_actions[0].choices[command]
    assert own == {o for action in sub._actions for o in action.option_strings}


# launch.py starts the processes of dist_*.sh: it must not import the package first.
SCRIPTS = sorted(p.name for p in (ROOT / "tools").glob("*.py") if p.name != "launch.py")


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_thin_wrappers(script):
    text = (ROOT / "tools" / script).read_text()
    (command,) = re.findall(r'main\("([a-z-]+)"\)', text)
    assert command in COMMANDS
    assert len(text.splitlines()) < 10


def test_an_unknown_command_names_what_there_is(capsys):
    with pytest.raises(SystemExit) as end:
        main(argv=["trian", "mae/vit-b"])
    assert end.value.code == 2
    assert "'train'" in capsys.readouterr().err


def test_other_lengths_and_teachers_of_a_recipe_get_their_own_work_dirs(monkeypatch):
    train = importlib.import_module("mmmim.cli.train")
    seen = []
    monkeypatch.setattr(train, "run_train", lambda cfg, options: seen.append((cfg.work_dir, options)))
    main("train", ["maskalign/vit-b"])
    main("train", ["configs/maskalign/vit-b.py", "--epochs", "800", "--teacher", "dino-b"])
    main("train", ["maskalign/vit-b", "--work-dir", "mine", "--no-validate", "--resume"])
    assert [work_dir for work_dir, _ in seen] == [
        "work_dirs/maskalign/vit-b",
        "work_dirs/maskalign/vit-b_dino-b_800e",
        "mine",
    ]
    assert seen[1][1].epochs == 800
    assert seen[2][1].resume == "auto"
    assert not seen[2][1].validate
