"""Install the package. Its requirements are pinned in requirements/ and installed by `make install`.

None is asked for here: `pip install -e .` must not replace the torch or the OpenMMLab packages of an
environment that has them.
"""

from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = {}
exec((here / "mmmim/version.py").read_text(), version)

setup(
    name="mmmim",
    version=version["__version__"],
    description="Masked image modelling for dense prediction, on OpenMMLab",
    long_description=(here / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["mmmim", "mmmim.*"]),
    package_data={"mmmim": ["weights/*"]},
)
