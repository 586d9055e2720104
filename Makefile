# Every target sets up what it needs. All state lives under STOCKFLOW_HOME (default .stockflow).
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
READY := .venv/.ready
# Tests run side by side: threads of their own would only wait for each other.
ONE_THREAD := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

.PHONY: setup demo test test-long lint format bench bench-accuracy bench-autogluon bench-scale ui clean help

help:
	@echo "make setup      virtual environment with bin/stockflow"
	@echo "make demo       a generated shop, one whole daily cycle, and where to look next"
	@echo "make ui         Dagster web UI on http://127.0.0.1:3000, schedules and sensors on"
	@echo "make test       the test suite;  make test-long  the long one"
	@echo "make lint       style and import contracts;  make bench  the benchmark tables"
	@echo "make bench-accuracy   forecasts against other libraries (in .venv-peers)"
	@echo "make bench-autogluon  forecasts against AutoGluon (in .venv-autogluon);  make bench-scale  time and memory"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@[ -n "$(PYTHON)" ] || { echo "Stockflow needs Python 3.11 or newer; install it, or run make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up .venv with $$($(PYTHON) --version) (a few minutes the first time)"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(BIN)/stockflow setup --project-only
	@touch $(READY)

demo: $(READY)
	@$(BIN)/stockflow demo

ui: $(READY)
	@$(BIN)/stockflow ui

test: $(READY)
	@$(ONE_THREAD) $(BIN)/python -m pytest -m "not long" -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-long: $(READY)
	@$(BIN)/python -m pytest -m long -s

lint: $(READY)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

format: $(READY)
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

bench-accuracy: $(READY)
	@[ -x .venv-peers/bin/python ] || { $(PYTHON) -m venv .venv-peers && .venv-peers/bin/pip install --quiet --disable-pip-version-check "lightgbm==4.7.0" "mlforecast==1.1.0" "pandas<3" pyarrow; }
	@$(BIN)/python -m benchmarks.accuracy

bench-autogluon: $(READY)
	@[ -x .venv-autogluon/bin/python ] || { $(PYTHON) -m venv .venv-autogluon && .venv-autogluon/bin/pip install --quiet --disable-pip-version-check "autogluon.timeseries==1.6.3" "torch==2.13.0"; }
	@$(BIN)/python -m benchmarks.accuracy --data fresh --series 300 --origins 1 --peers naive,autogluon

bench-scale: $(READY)
	@$(BIN)/python -m benchmarks.scale

bench: $(READY)
	@$(BIN)/python -m benchmarks

clean:
	rm -rf .venv dbt_project/target .pytest_cache .ruff_cache
