# Needs Python 3.11, git and make; everything else is set up below, by name, from the lock.
PYTHON ?= python3.11
UV := .tools/bin/uv
RUN := .venv/bin/
export OMP_NUM_THREADS ?= 2
.DEFAULT_GOAL := help

.PHONY: help setup test lint format

help: ## what can be made here
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 22

# uv comes from PyPI into a folder of its own: the machine's Python stays untouched.
$(UV):
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check 'uv==0.13.9'

setup: $(UV) ## the virtual environment, exactly as locked
	@$(UV) sync --quiet --frozen --all-packages --all-extras --python $(PYTHON)

test: setup ## every test
	$(RUN)pytest

lint: setup ## format, lint, types, import rules, contracts
	$(RUN)ruff format --check .
	$(RUN)ruff check .
	$(RUN)mypy
	$(RUN)lint-imports
	$(RUN)python protos/check.py lint
	$(RUN)python protos/check.py format
	$(RUN)python protos/check.py breaking

format: setup ## format and mend what can be mended by machine
	$(RUN)ruff format .
	$(RUN)ruff check --fix .
