# Everything a newcomer needs: `make book`. Everything a developer needs: `make test`.
SHELL := bash
# A recipe stops at its first failing command, also inside a pipe.
.SHELLFLAGS := -eo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PROFILE ?= demo
VENV ?= .venv
PYTHON ?= python3
# nproc believes OMP_NUM_THREADS, which is 1 here: ask without it.
CORES ?= $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Outputs are written atomically, so two makes at once are safe and a lock would only outlive a killed one.
# Chapter 07 takes longest and needs one training: it goes first, or one core would wait for it at the end.
SNAKEMAKE = $(BIN)/python -m snakemake --snakefile workflow/Snakefile --cores $(CORES) \
	--nolock --rerun-incomplete --prioritize validation --quiet all
# One thread a process: two runs side by side beat one run on two cores.
export OMP_NUM_THREADS = 1
export MKL_NUM_THREADS = 1
export NUMBA_NUM_THREADS = 1

.PHONY: help install book test lint study bench bench-camels bench-attribution clean

help: ## show this list
	@echo "make TARGET [PROFILE=$(PROFILE)] [CORES=$(CORES)]"
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | column -t -s '|'

install: $(STAMP) ## make the virtual environment (every other target does it on first use)

# torch goes first: otherwise captum picks the torch, and its newest build brings gigabytes of GPU packages.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,simulate,posterior]'
	touch $@

book: $(STAMP) ## train, interpret and build the book (demo profile: under half an hour on 2 cores)
	$(SNAKEMAKE) --config profile=demo -- book
	@echo "The book: _build/html/index.html"

test: $(STAMP) lint ## everything that must pass: lint, tests, tiny profile, its notebooks, its book
	$(BIN)/python -m pytest -q
	$(SNAKEMAKE) --config profile=tiny -- book
	$(BIN)/python workflow/check_notebooks.py build/tiny/notebooks
	@echo "All tests passed; the tiny book: build/tiny/html/index.html"

lint: $(STAMP) ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

study: $(STAMP) ## all runs and chapters of PROFILE=standard or PROFILE=camels, and its book under build/
	$(SNAKEMAKE) --config profile=$(PROFILE) -- book

bench: $(STAMP) ## speed against the published recipe, written plainly: ratios, memory, floors (a quarter of an hour, 4 GB of disk)
	$(BIN)/python benchmarks/speed.py

bench-camels: $(STAMP) ## a full-size CMD file through every stage: seconds and memory (8.1 GB of disk)
	$(BIN)/python benchmarks/camels.py

bench-attribution: $(STAMP) ## attribution of many maps against a plain loop of captum: maps a second
	OMP_NUM_THREADS=$(CORES) MKL_NUM_THREADS=$(CORES) $(BIN)/python benchmarks/attribution.py

clean: ## remove what was generated (runs and the environment stay)
	rm -rf build _build .snakemake .pytest_cache .ruff_cache
