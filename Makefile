# Every target works on a machine with git, make and Python 3.11 or later; the environment is made on first use.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install run test chaos soak browser lint lock clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: .venv/installed  ## set up .venv from the lock

.venv/installed: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing the locked requirements into .venv (about 6 GB with torch; a few minutes on a first download)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

run: install  ## start the service on 127.0.0.1:8000 and tag a rendered photo
	@$(BIN)/fashion-tagger serve --demo

lint: install  ## format check, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy --strict serve_app models

test: lint  ## the gate: lint, quick tests, then the tests on a real Ray instance
	@OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2  # one torch thread a process: more fight over the cores
	@$(BIN)/pytest -q -m cluster

chaos: install  ## faults under load and 10,000 hostile requests on a real Ray instance (half an hour and more)
	@$(BIN)/pytest -q -m chaos tests/chaos

soak: install  ## 30 minutes of changing load; memory, files and metric series over time (SOAK_SECONDS)
	@$(BIN)/python -m tests.chaos.soak

browser: install  ## the page in headless Chromium (Debian packages chromium and chromium-driver)
	@$(BIN)/pytest -q -m browser

lock: install  ## compile requirements.lock from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --group dev --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--no-emit-index-url --quiet --upgrade --output-file requirements.lock

clean:  ## remove the environment and caches
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache *.egg-info
