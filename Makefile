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
# GPUs of this machine: each run takes one.
GPUS ?= $(shell nvidia-smi -L 2>/dev/null | grep -c ^GPU)
# Processes that share the tuning study.
WORKERS ?= 1
# The book that `make check` looks at.
HTML ?= _build/html
# `--required`: a machine without Chromium fails; otherwise it says that it did not look.
BROWSER ?=
# Name of a folder in workflow/profiles: the runs are sent there instead of to this machine.
CLUSTER ?=
# Values as the shell sees them, whatever spaces, quotes and dollars a path has.
quoted = '$(subst ','\'',$(value $1))'
BIN := $(call quoted,VENV)/bin

WHERE = --cores $(CORES) $(if $(filter-out 0,$(GPUS)),--resources gpu=$(GPUS))
ifneq ($(CLUSTER),)
WHERE = --workflow-profile workflow/profiles/$(call quoted,CLUSTER)
GPUS = 0
endif
# How many GPUs a run takes (a cluster's profile gives it itself), who tunes, and Snakemake's own options.
OPTIONS = --workers $(WORKERS) $(if $(filter-out 0,$(GPUS)),--gpu) -- $(WHERE)
# Where the tuning study is kept; not on a command line, which logs show with its password.
ifneq ($(value STUDY),)
export COSMOLIB_STUDY = $(value STUDY)
endif
STUDY_OF = $(BIN)/python workflow/study.py
# One thread a process: two runs side by side beat one run on two cores.
export OMP_NUM_THREADS = 1
export MKL_NUM_THREADS = 1
export NUMBA_NUM_THREADS = 1
# glibc keeps the memory of freed tensors for the next ones (up to 1 GiB): faster training on a CPU.
export MALLOC_TRIM_THRESHOLD_ = 1073741824
export MALLOC_MMAP_THRESHOLD_ = 1073741824

.PHONY: help install book test check lint study plan bench bench-camels bench-attribution bench-cluster chaos fuzz clean

help: ## show this list
	@echo "make TARGET [PROFILE=$(PROFILE)] [CORES=$(CORES)]"
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | column -t -s '|'

# Not a file's rule: make splits the names of files at spaces.
# torch goes first: otherwise captum picks the torch, and its newest build brings gigabytes of GPU packages.
install: ## make the virtual environment (every other target does it on first use)
	@stamp=$(call quoted,VENV)/.installed; \
	if [ pyproject.toml -nt "$$stamp" ] || [ constraints.txt -nt "$$stamp" ]; then \
		set -x; \
		test -x $(BIN)/python || $(call quoted,PYTHON) -m venv $(call quoted,VENV); \
		$(BIN)/python -m pip install --quiet -c constraints.txt torch; \
		$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,chapters,simulate,posterior,postgres,slurm]'; \
		touch "$$stamp"; \
	fi

book: install ## train, interpret and build the book (demo profile: under half an hour on 2 cores)
	$(STUDY_OF) demo $(OPTIONS)
	@echo "The book: _build/html/index.html"

test: install lint ## everything that must pass: lint, tests, tiny profile, its notebooks, its book in a browser (15 minutes)
	$(BIN)/python -m pytest -q -n $(CORES) --dist loadfile --no-loadscope-reorder
	$(STUDY_OF) tiny $(OPTIONS)
	$(BIN)/python workflow/check_notebooks.py build/tiny/notebooks $(CORES)
	$(BIN)/python workflow/check_site.py build/tiny/html
	$(BIN)/python workflow/check_browser.py build/tiny/html --shots build/tiny/screenshots --cores $(CORES) $(BROWSER)
	@echo "All tests passed; the tiny book: build/tiny/html/index.html"

check: install ## look at the built book (HTML=folder): links, words of pictures, sizes; every page in a browser
	$(BIN)/python workflow/check_site.py $(call quoted,HTML)
	$(BIN)/python workflow/check_browser.py $(call quoted,HTML) --shots build/screenshots --cores $(CORES) $(BROWSER)

lint: install ## ruff: style and format
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

study: install ## all runs and chapters of PROFILE=standard or camels, and its book under build/; CLUSTER=slurm sends them
	$(STUDY_OF) $(call quoted,PROFILE) $(OPTIONS)

plan: install ## where PROFILE stands: runs done, stale, at work, interrupted, not begun; and what study would do
	@$(BIN)/python workflow/plan.py $(call quoted,PROFILE)
	@$(STUDY_OF) $(call quoted,PROFILE) $(OPTIONS) --dry-run

bench: install ## speed against the published recipe, written plainly: ratios, memory, floors (a quarter of an hour, 4 GB of disk)
	$(BIN)/python benchmarks/speed.py

bench-camels: install ## a full-size CMD file through every stage: seconds and memory (8.1 GB of disk)
	$(BIN)/python benchmarks/camels.py

bench-attribution: install ## attribution of many maps against a plain loop of captum: maps a second
	OMP_NUM_THREADS=$(CORES) MKL_NUM_THREADS=$(CORES) $(BIN)/python benchmarks/attribution.py

bench-cluster: install ## a study through a real SLURM on two virtual nodes of this machine, one drained (needs slurmd, munge)
	$(BIN)/python benchmarks/cluster.py

chaos: install ## kill -9 at 50 random moments of a study of 21 runs, and in each step that makes data (half an hour)
	$(BIN)/python benchmarks/chaos.py

fuzz: install ## two thousand hostile inputs to every reader, other ones each time, and the book's table of them
	COSMOLIB_FUZZ_EXAMPLES=2000 COSMOLIB_FUZZ_TABLE=results/benchmarks/fuzz.json $(BIN)/python -m pytest -q -o faulthandler_timeout=0 tests/test_fuzz.py

clean: ## remove what was generated (runs and the environment stay)
	rm -rf build _build .snakemake .pytest_cache .ruff_cache
