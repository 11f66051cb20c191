# Needs Python 3.11, git and make; everything else is set up below, by name, from the lock.
# The interpreter itself: given a shim of pyenv's, uv would make the environment anew each time, under whoever uses it.
PYTHON ?= $(shell $$(command -v python3.11 || command -v python3) -c 'import sys; print(sys._base_executable)')
UV := .tools/bin/uv
BIN := .venv/bin/
export UV_PYTHON_DOWNLOADS := never
.DEFAULT_GOAL := help

.PHONY: help setup demo up down test lint k8s-validate images format reference transcript screenshots bench dist dist-files clean

help: ## what can be made here
	@grep -hE '^[a-z0-9%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

# uv comes from PyPI into a folder of its own: the machine's Python stays untouched.
$(UV):
	@echo "setting up (once; a few minutes on a slow line)"
	@$(PYTHON) -m venv .tools
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check 'uv==0.13.9'

setup: $(UV) ## the virtual environment, exactly as locked
	@$(UV) sync --quiet --frozen --all-packages --all-extras --python $(PYTHON)
	@$(MAKE) --silent .venv/compiled

# A process that imports pandas, SQLAlchemy and numba from sources takes 4 s of processor to compile them, each time where
# PYTHONDONTWRITEBYTECODE is set. Some packages ship templates that are no Python.
.venv/compiled: uv.lock
	@$(BIN)python -m compileall -q -j 0 .venv/lib libs services >/dev/null 2>&1; touch $@

demo: setup ## simulate an account, import, train, serve, ask: one command
	@$(BIN)python examples/demo.py

up: setup ## start every service in the background, on the demo's data unless ADSML_DATABASE_URL says otherwise
	@$(BIN)python examples/services.py up

down: setup ## stop what `make up` started
	@$(BIN)python examples/services.py down

# Debian's own, unpacked beside uv; where they can't be had, their tests say so and are left out.
.tools/alertmanager .tools/libfaketime:
	@mkdir -p $@.new && cd $@.new && apt-get download -qq $(PACKAGE_$(@F)) 2>/dev/null \
		&& dpkg -x $(PACKAGE_$(@F))_*.deb . && rm *.deb && cd .. && mv $(notdir $@).new $(notdir $@) \
		|| { rm -rf $(CURDIR)/$@.new; echo "no $(PACKAGE_$(@F)) from apt: its tests are left out"; }
PACKAGE_alertmanager := prometheus-alertmanager
PACKAGE_libfaketime := libfaketime

# What axe-core looks at a page with, without the driver it comes beside; where it can't be had, its tests are left out.
.tools/axe: $(UV)
	@$(UV) pip install --quiet --no-deps --target $@ 'axe-playwright-python==0.1.8' || echo "no axe-core: its tests are left out"

test: setup .tools/alertmanager .tools/libfaketime .tools/axe ## every test
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)pytest -n 3 --dist worksteal

lint: setup ## format, lint, types, import rules, contracts
	$(BIN)ruff format --check .
	$(BIN)ruff check .
	$(BIN)mypy
	$(BIN)lint-imports
	$(BIN)python protos/check.py lint
	$(BIN)python protos/check.py format
	$(BIN)python protos/check.py breaking

k8s-validate: setup ## manifests, policies, the Dockerfile, alerts
	@$(BIN)python deploy/validate.py

IMAGES := classifier forecasting anomaly impact launcher ingest report
TAG := local
BUILDER := $(shell command -v buildah >/dev/null && echo buildah build || echo docker build)

images: $(addprefix image-,$(IMAGES)) ## every image, by buildah or docker: adsml-NAME:$(TAG)

image-%: ## one image
	$(BUILDER) --file deploy/Dockerfile --build-arg IMAGE=$* --tag adsml-$*:$(TAG) .

format: setup ## format, and mend what a machine can mend
	$(BIN)ruff format .
	$(BIN)ruff check --fix .
	$(BIN)python protos/check.py format --write

reference: setup ## docs/contracts.md and docs/openapi.json from the contracts, docs/settings.md from the classes
	@$(BIN)python protos/reference.py
	@$(BIN)python protos/openapi.py
	@$(BIN)adsml settings --markdown > docs/settings.md

transcript: ## docs/transcript.md: a newcomer's hour with a fresh clone (a few minutes)
	@$(PYTHON) examples/transcript.py

screenshots: setup ## docs/images from the demo's report; needs a browser
	@$(BIN)python examples/screenshots.py

BENCHES := $(sort $(patsubst benchmarks/bench_%.py,bench-%,$(wildcard benchmarks/bench_*.py)))

bench: $(subst _,-,$(BENCHES)) ## every benchmark, one after the other (long)

bench-%: setup ## one benchmark: a table, and benchmarks/results/NAME.json
	@$(BIN)python benchmarks/bench_$(subst -,_,$*).py

DIST := dist
dist: setup dist-files ## wheels of every distribution, the contracts for other languages, hashes and an SBOM, in dist/

# Without setting up: tests run it beside others that use the environment.
dist-files:
	@rm -rf $(DIST)
	@$(UV) build --quiet --all-packages --wheel --out-dir $(DIST)
	@$(UV) export --quiet --frozen --no-dev --all-packages --no-emit-workspace --format cyclonedx1.5 --output-file $(DIST)/adsml.cdx.json
	@$(UV) export --quiet --frozen --no-dev --package adsml-cli --no-emit-workspace --output-file $(DIST)/requirements.txt >/dev/null
	@$(BIN)python protos/bundle.py $(DIST)
	@cd $(DIST) && sha256sum * > SHA256SUMS && ls

clean: ## remove what setup, tests and the demo made
	rm -rf .venv .tools adsml-data demo-data .mypy_cache .ruff_cache .pytest_cache .hypothesis
