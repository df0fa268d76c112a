# make demo    see the product at work
# make test    everything CI runs; ENGINE=sqlite or ENGINE=postgresql narrows it, PYTEST='-k claim -x' is handed to pytest, JOBS=0 runs
#              one test at a time
#
# Each step leaves a stamp, so a second run does only what changed. Written for any POSIX shell and GNU make from 3.81 on.

PYTHON ?= python3
ENGINE ?= both
PYTEST ?=
JOBS ?= 3

VENV := .venv
PY := $(VENV)/bin/python
# Runs a command with a Node of at least version 18 first in PATH: the machine's, else the one of the test dependencies.
WITH_NODE := $(PY) tests/environment.py run
NODE_PACKAGES := static/node_modules/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo install test pytest engines long lint types static static-check format breaks bench bench-audiences bench-tracker screenshots clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.product ## install the product here and start it with a small shop that uses it
	$(VENV)/bin/leadlight demo

install: $(VENV)/.test $(VENV)/.chromium $(NODE_PACKAGES) ## everything that the tests need

test: install lint types static-check pytest ## all checks and all tests, as CI runs them

pytest: install ## the tests alone
	$(PY) -m pytest -n $(JOBS) --maxschedchunk 24 --engine $(ENGINE) $(PYTEST)

engines: $(VENV)/.test ## the most important browser tests in Firefox, WebKit and Chromium, each where it is installed; names what to install
	$(PY) -m pytest tests/engines $(PYTEST)

long: install ## the tests with the time of a night, none of which is ended for taking long
	$(PY) -m pytest --engine $(ENGINE) --long -o faulthandler_timeout=0 $(PYTEST)

lint: $(VENV)/.test ## ruff: rules and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(VENV)/.test $(NODE_PACKAGES) ## mypy on Python, tsc on JavaScript
	$(PY) -m mypy
	$(WITH_NODE) node static/node_modules/typescript/bin/tsc --project static

static: $(NODE_PACKAGES) ## build static/*.js from static/src
	$(WITH_NODE) node static/build.mjs

static-check: $(NODE_PACKAGES) ## are the built scripts those of the sources?
	$(WITH_NODE) node static/build.mjs --check

format: $(VENV)/.test ## let ruff put the Python in order
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

breaks: $(VENV)/.test ## do deliberate breaks turn the crash tests red?
	$(PY) -m tests.breaks --output tests/BREAKS.md

bench: $(VENV)/.test ## ingest benchmarks, as ratios side by side (needs wrk)
	$(PY) -m tests.benchmarks.ingest

bench-audiences: $(VENV)/.test ## audiences beside DuckDB, and decisions, as they grow (needs duckdb)
	$(PY) -m tests.benchmarks.growth

bench-tracker: install ## what the tracker costs a page, beside its peers (installs their npm packages into a cache folder)
	$(WITH_NODE) $(PY) -m tests.benchmarks.trackers

screenshots: install ## take the pictures in docs/ anew
	$(PY) -m tests.screenshots

clean: ## remove what these commands made (demo data stays)
	rm -rf $(VENV) static/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find collector demo_site tests -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment is made only with a Python that can: the two ways it usually fails are said in words.
$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "There is no '$(PYTHON)'. Install Python 3.11 or newer, or name one: make $(or $(MAKECMDGOALS),demo) PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "'$(PYTHON)' is $$($(PYTHON) --version 2>&1); Leadlight needs 3.11 or newer. Name one: make $(or $(MAKECMDGOALS),demo) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make environments: its venv module is a package of its own."; \
	  echo "On Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	@echo "Making an environment in $(VENV)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.product: $(VENV)/.made pyproject.toml
	@echo "Installing Leadlight and its libraries into $(VENV)"
	$(PY) -m pip install --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.made pyproject.toml
	@echo "Installing Leadlight, its libraries and the test tools into $(VENV)"
	$(PY) -m pip install --disable-pip-version-check --editable '.[test]'
	@touch $(VENV)/.product $@

$(VENV)/.chromium: $(VENV)/.test tests/environment.py
	$(PY) tests/environment.py chromium
	@touch $@

$(NODE_PACKAGES): $(VENV)/.test static/package.json $(wildcard static/package-lock.json)
	$(WITH_NODE) npm $(if $(wildcard static/package-lock.json),ci,install --no-package-lock) --prefix static --no-audit --no-fund
	@touch $@
