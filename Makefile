# avlake: `make run` takes drops of recordings to a trained model, `make test` tests it. `make help` lists the rest.
#
#   make run                              real VoxForge archives, or synthesised voices without a network
#   make run SOURCE=folder-or-uri         all drops there       (DROP=YYYY-MM-DD: one of them)
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make run      a smaller install: torch without CUDA

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup run stop clean secrets test check lint e2e storage distributed train bench scale lock

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
AZURITE := $(VENV)/azurite/node_modules/azurite-3.37.0
SYSTEM_PYTHON := $(shell command -v python3.11 || command -v python3)
PIPELINE ?= voxforge_gender
SOURCE ?=
DROP ?=
# Each file of tests goes to one of two processes; PYTEST_ARGS="-n 0" keeps them in one, as --pdb needs it.
# In their order: by default the files with the fewest tests come last, and some of those take longest.
IN_PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder
PYTEST_ARGS ?=
BENCH_ARGS ?=

# Numeric libraries take every core by themselves; here the processes share them.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

help: ## list these targets
	@sed -n '3,5s/^# *//p' Makefile
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## make .venv and install the pinned requirements

$(STAMP): requirements.txt pyproject.toml
	@test -n "$(SYSTEM_PYTHON)" || { echo "avlake needs Python 3.11: no python3.11 and no python3 on the PATH" >&2; exit 2; }
	@"$(SYSTEM_PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "avlake needs Python 3.11; $(SYSTEM_PYTHON) is $$("$(SYSTEM_PYTHON)" --version). Install python3.11" \
	       "(Debian: apt install python3.11 python3.11-venv)" >&2; exit 2; }
	@echo "installing the requirements: downloads about 1.1 GB with a CPU-only torch, 4 GB with CUDA (PyPI's for Linux);" \
	      "set PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu for the former. It takes 3.5 GB of disk, 8 GB with CUDA."
	@echo "free disk here: $$(df -Ph . | awk 'NR==2{print $$4}')"
	@test -x $(BIN)/python || "$(SYSTEM_PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e .
	@# A running Airflow has the old packages loaded.
	@$(BIN)/python -m avlake.orchestration.local stop >/dev/null 2>&1
	@touch $(STAMP)

run: $(STAMP) ## take drops through Airflow to a model (SOURCE=, DROP=, PIPELINE=)
	@$(BIN)/python -m avlake.orchestration.local run --pipeline "$(PIPELINE)" --source "$(SOURCE)" --drop "$(DROP)"

stop: ## end the Airflow that `make run` started, and nothing else
	@test ! -x $(BIN)/python || $(BIN)/python -m avlake.orchestration.local stop

clean: stop ## stop, and remove .avlake: the lake, the warehouse, Airflow's database
	rm -rf .avlake

secrets: ## write the .env of docker-compose.yaml with generated secrets, or complete it
	@"$(SYSTEM_PYTHON)" infra/make_secrets.py

test: $(STAMP) ## the tests that need no server
	$(BIN)/python -m pytest $(IN_PARALLEL) $(PYTEST_ARGS)

e2e: $(STAMP) ## a real Airflow, killed in the middle, started again, and asked to wait for a person
	$(BIN)/python -m pytest -m e2e $(PYTEST_ARGS)

distributed: $(STAMP) ## docker-compose.yaml run natively; its parts are killed one by one
	$(BIN)/python -m pytest -m distributed $(PYTEST_ARGS)

train: $(STAMP) ## long training: what the intervals of a comparison are worth
	$(BIN)/python -m pytest -m train $(PYTEST_ARGS)

storage: $(STAMP) $(AZURITE) ## the lake on real stores: a folder, S3, Azure
	$(BIN)/python -m pytest -m "" $(IN_PARALLEL) tests/storage $(PYTEST_ARGS)

$(AZURITE):
	@if command -v node >/dev/null && command -v npm >/dev/null; then \
	  npm install --prefix $(VENV)/azurite --silent --no-audit --no-fund azurite@3.37.0 && touch $@; \
	else echo "no node and npm here: the tests on Azure are skipped (Debian: apt install nodejs npm)" >&2; fi

lint: $(STAMP) ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test ## lint, types and tests: what has to pass before a commit

bench: $(STAMP) ## measure against named peers
	$(BIN)/python bench/extraction.py $(BENCH_ARGS)
	$(BIN)/python bench/decoding.py
	$(BIN)/python bench/long_file.py
	$(BIN)/python bench/outros.py
	$(BIN)/python bench/speakers.py

scale: $(STAMP) ## plan, commit, curate and publish a drop of a million recordings, within bounds
	$(BIN)/python bench/scale.py $(BENCH_ARGS)

lock: $(STAMP) ## pin requirements.in into requirements.txt
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host -q \
	  -o requirements.txt requirements.in
	sed -i.bak -E 's/^(torch==[0-9.]+)\+cpu/\1/' requirements.txt && rm requirements.txt.bak
