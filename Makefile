# make demo | test | check | bench | fuzz | clean: each sets up what it needs in .venv first.

PYTHON ?= $(shell for p in python3.12 python3.11 python3.10 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
UV := $(BIN)/python -m uv pip install --quiet --python $(BIN)/python --constraint constraints.txt

.PHONY: install demo test test-slow check bench fuzz clean

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
	$(UV) --editable '.[test,synth,yolo,onnx,train,otel,tensorrt-rtx]'
	@touch $@

demo: .venv/installed
	$(BIN)/python run_pipeline.py demo --overwrite

# In the order of the files: those that take longest come first, and no core waits for the last.
test: .venv/test-installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu"

test-slow: .venv/test-installed
	$(BIN)/python -m pytest -m "slow and not gpu"

check: .venv/test-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/installed
	$(BIN)/python -m benchmarks.pipeline

# Looks for messages that the decoder cannot take, for so many seconds; see tests/fuzz/README.md.
SECONDS ?= 300
fuzz: .venv/installed
	$(UV) --editable '.[fuzz]'
	mkdir -p .fuzz/corpus
	$(BIN)/python -m tests.fuzz.fuzz_decoder .fuzz/corpus -max_total_time=$(SECONDS) \
		-rss_limit_mb=1024 -timeout=5 -max_len=40000 -artifact_prefix=.fuzz/

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz demo-out *.egg-info
