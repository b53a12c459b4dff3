# Everything a newcomer needs: `make book`. Everything a developer needs: `make test`.
SHELL := bash
# A recipe stops at its first failing command, also inside a pipe.
.SHELLFLAGS := -eo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PROFILE ?= demo
VENV ?= .venv
PYTHON ?= python3
# nproc obeys OMP_NUM_THREADS, which is 1 here: unset it.
CORES ?= $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
# GPUs of this machine; each run takes one.
GPUS ?= $(shell nvidia-smi -L 2>/dev/null | grep -c ^GPU)
# Processes that share the tuning study.
WORKERS ?= 1
# The book that `make check` checks.
HTML ?= _build/html
# `--required`: fail without Chromium; by default the check is skipped with a message.
BROWSER ?=
# Name of a folder in workflow/profiles: the runs are sent to that cluster.
CLUSTER ?=
# Values quoted for the shell: a path may contain spaces, quotes and dollar signs.
quoted = '$(subst ','\'',$(value $1))'
BIN := $(call quoted,VENV)/bin

WHERE = --cores $(CORES) $(if $(filter-out 0,$(GPUS)),--resources gpu=$(GPUS))
ifneq ($(CLUSTER),)
WHERE = --workflow-profile workflow/profiles/$(call quoted,CLUSTER)
GPUS = 0
endif
# Workers of the tuning study, GPUs per run (a cluster's profile sets them itself), and options of Snakemake.
OPTIONS = --workers $(WORKERS) $(if $(filter-out 0,$(GPUS)),--gpu) -- $(WHERE)
# File of the tuning study, if it is not among the runs.
ifneq ($(value STUDY),)
export COSMOLIB_STUDY = $(value STUDY)
endif
STUDY_OF = $(BIN)/python workflow/study.py
# One thread per process: two runs on one core each are faster than one run on two cores.
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

# No rule for a file: make splits file names at spaces.
# torch is installed first: otherwise captum selects its newest build, with gigabytes of GPU packages.
install: ## make the virtual environment (every other target does it on first use)
	@stamp=$(call quoted,VENV)/.installed; \
	if [ pyproject.toml -nt "$$stamp" ] || [ constraints.txt -nt "$$stamp" ]; then \
		set -x; \
		test -x $(BIN)/python || $(call quoted,PYTHON) -m venv $(call quoted,VENV); \
		$(BIN)/python -m pip install --quiet -c constraints.txt torch; \
		$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,chapters,simulate,posterior,slurm]'; \
		touch "$$stamp"; \
	fi

book: install ## train, interpret and build the book (demo profile: half an hour to an hour on 2 cores)
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

study: install ## all runs and chapters of a PROFILE (reference, camels, ...) and its book under build/; CLUSTER=slurm for a cluster
	$(STUDY_OF) $(call quoted,PROFILE) $(OPTIONS)

plan: install ## the status of every run of PROFILE, and the jobs that `make study` would start
	@$(BIN)/python workflow/status.py $(call quoted,PROFILE)
	@$(STUDY_OF) $(call quoted,PROFILE) $(OPTIONS) --dry-run

bench: install ## speed and memory compared with the published recipe (a quarter of an hour, 4 GB of disk)
	$(BIN)/python benchmarks/speed.py

bench-camels: install ## a full-size CMD file through every stage: seconds and memory (8.1 GB of disk)
	$(BIN)/python benchmarks/camels.py

bench-attribution: install ## attribution of many maps compared with a plain loop of captum: maps per second
	OMP_NUM_THREADS=$(CORES) MKL_NUM_THREADS=$(CORES) $(BIN)/python benchmarks/attribution.py

bench-cluster: install ## a study on a temporary SLURM of two virtual nodes, one of which is drained (needs slurmd, munge)
	$(BIN)/python benchmarks/cluster.py

chaos: install ## kill -9 at 50 random moments of a study of 21 runs, and in each step that makes data (half an hour)
	$(BIN)/python benchmarks/chaos.py

fuzz: install ## two thousand hostile inputs to every reader, other ones each time, and the book's table of them
	COSMOLIB_FUZZ_EXAMPLES=2000 COSMOLIB_FUZZ_TABLE=results/benchmarks/fuzz.json $(BIN)/python -m pytest -q -o faulthandler_timeout=0 tests/test_fuzz.py

clean: ## remove what was generated (runs and the environment stay)
	rm -rf build _build .snakemake .pytest_cache .ruff_cache
