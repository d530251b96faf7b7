# Targets a newcomer needs: demo, test, check. Each installs what it needs into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A worker for each core, which takes file after file.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

.PHONY: install demo test test-all check format wheel clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml setup.py $(wildcard requirements/*.txt)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/build.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --override requirements/overrides.txt \
		--constraint requirements/constraints.txt --editable ".[dev]"
	touch $@

demo: install
	$(BIN)/mmmim demo

test: install
	$(PYTEST) -m "not slow" tests

test-all: install
	$(PYTEST) tests

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python tests/tools/check_docs.py

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: install
	$(BIN)/uv build

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .mypy_cache
