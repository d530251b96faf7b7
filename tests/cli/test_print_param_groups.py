"""tools/print_layers.py."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_parameter_is_listed_with_its_rate(monkeypatch, capsys):
    config = ROOT / "configs/tiny/classifier_mixmim_clothing.py"
    monkeypatch.setattr(sys, "argv", ["print_layers.py", str(config)])
    runpy.run_path(str(ROOT / "tools/print_layers.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split("│")[1].strip(): line for line in lines if line.startswith("│")}
    factor, rate, decay = (c.strip() for c in rows["head.fc.weight"].split("│")[3:6])
    assert (float(factor), float(rate), float(decay)) == (1.0, 1e-3, 0.05)
    assert "backbone.patch_embed.proj.weight" in rows
    assert lines[-1].endswith(
        f"{len(rows)} parameters are trained, 1 are not: backbone.absolute_pos_embed"
    )
