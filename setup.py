"""Thin: everything is in pyproject.toml, but for what `mim` expects inside the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithMim(build_py):
    """Copies configs and tools to `mmmim/.mim`, where `mim` and `mmmim train NAME` look for them."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # a checkout has them already
        target = Path(self.build_lib) / "mmmim/.mim"
        for name in ("configs", "tools"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, target / name, dirs_exist_ok=True, ignore=ignored)
        shutil.copy(ROOT / "model-index.yml", target)


setup(cmdclass=dict(build_py=BuildWithMim))
