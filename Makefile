# make demo | test | check | bench | clean: each sets up what it needs in .venv first.

PYTHON ?= $(shell for p in python3.12 python3.11 python3.10 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
UV := $(BIN)/python -m uv pip install --quiet --python $(BIN)/python --constraint constraints.txt

.PHONY: install demo test test-slow check bench clean

install: .venv/installed

.venv/uv:
	@test -n "$(PYTHON)" || { echo "error: needs Python 3.10, 3.11 or 3.12 on the PATH" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@touch $@

.venv/installed: .venv/uv pyproject.toml constraints.txt
	$(UV) --editable .
	@touch $@

.venv/test-installed: .venv/installed
	$(UV) --editable '.[test,synth,yolo,onnx,train,tensorrt-rtx]'
	@touch $@

demo: .venv/installed
	$(BIN)/python run_pipeline.py demo --overwrite

test: .venv/test-installed
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu"

test-slow: .venv/test-installed
	$(BIN)/python -m pytest -m "slow and not gpu"

check: .venv/test-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/installed
	$(BIN)/python -m benchmarks.pipeline

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-out *.egg-info
