# Readers need `make book`, developers need `make test`; `make help` lists the rest.
SHELL := bash
# A recipe stops at its first failing command, including those inside a pipe.
.SHELLFLAGS := -eo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PROFILE ?= demo
VENV ?= .venv
PYTHON ?= python3
# nproc would return OMP_NUM_THREADS, which is 1 here.
CORES ?= $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
# Number of GPUs; each training uses one.
GPUS ?= $(shell nvidia-smi -L 2>/dev/null | grep -c ^GPU)
# Number of processes that share the tuning study.
WORKERS ?= 1
# Folder of the book that `make check` checks.
HTML ?= _build/html
# `--required` fails without Chromium; by default the check is skipped with a message.
BROWSER ?=
# Name of a folder in workflow/profiles: submit the jobs to that cluster.
CLUSTER ?=
# Quote a value for the shell, because paths may contain spaces, quotes and dollar signs.
quoted = '$(subst ','\'',$(value $1))'
BIN := $(call quoted,VENV)/bin

WHERE = --cores $(CORES) $(if $(filter-out 0,$(GPUS)),--resources gpu=$(GPUS))
ifneq ($(CLUSTER),)
WHERE = --workflow-profile workflow/profiles/$(call quoted,CLUSTER)
GPUS = 0
endif
# Options of workflow/study.py and, after `--`, of Snakemake. A cluster profile sets the GPUs itself.
OPTIONS = --workers $(WORKERS) $(if $(filter-out 0,$(GPUS)),--gpu) -- $(WHERE)
# File or address of the tuning study, if it is not stored in runs/.
ifneq ($(value STUDY),)
export COSMOLIB_STUDY = $(value STUDY)
endif
STUDY_OF = $(BIN)/python workflow/study.py
# One thread per process: two simultaneous runs on one core each finish sooner than two runs in turn.
export OMP_NUM_THREADS = 1
export MKL_NUM_THREADS = 1
export NUMBA_NUM_THREADS = 1
# glibc reuses up to 1 GiB of freed memory for the next tensors, which trains faster on a CPU.
export MALLOC_TRIM_THRESHOLD_ = 1073741824
export MALLOC_MMAP_THRESHOLD_ = 1073741824

.PHONY: help install lab book test check lint study plan bench bench-camels bench-attribution bench-cluster chaos fuzz clean

help: ## list all targets
	@echo "make TARGET [PROFILE=$(PROFILE)] [CORES=$(CORES)]"
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | column -t -s '|'

# The recipes check time stamps because make cannot handle file names with spaces. The long part is
# compiling Pylians: it runs next to the rest, with one compiler per core. torch is installed before
# the others; otherwise captum selects the newest build, with gigabytes of GPU packages.
NEWER = [ pyproject.toml -nt "$$stamp" ] || [ constraints.txt -nt "$$stamp" ]
PIP = $(BIN)/python -m pip install --quiet -c constraints.txt
install: ## create the virtual environment of the book (the other targets do this when needed)
	@stamp=$(call quoted,VENV)/.installed; \
	if $(NEWER); then \
		set -x; \
		test -x $(BIN)/python || $(call quoted,PYTHON) -m venv $(call quoted,VENV); \
		here=$$(cd $(call quoted,VENV) && pwd); \
		printf '[build_ext]\nparallel = %s\n' $(CORES) > "$$here/compile.cfg"; \
		DIST_EXTRA_CONFIG="$$here/compile.cfg" $(BIN)/python -m pip wheel --quiet --no-deps -c constraints.txt -w "$$here/wheels" Pylians & \
		wheel=$$!; \
		$(PIP) torch && $(BIN)/python workflow/requirements.py book posterior > "$$here/requirements.txt" && $(PIP) -r "$$here/requirements.txt" || { kill $$wheel; exit 1; }; \
		wait $$wheel; \
		$(PIP) --find-links "$$here/wheels" -e '.[book,posterior]'; \
		touch "$$stamp"; \
	fi

# What some targets need in addition; `make extras-lab` installs the extra `lab`.
extras-%: install
	@stamp=$(call quoted,VENV)/.installed-$*; \
	if $(NEWER); then set -x; $(PIP) -e '.[$(subst +,$(comma),$*)]'; touch "$$stamp"; fi
comma = ,

lab: extras-lab ## open the chapters in JupyterLab
	$(BIN)/python -m jupyterlab notebooks

book: install ## train, interpret and build the book of the demo profile
	$(STUDY_OF) demo $(OPTIONS)
	@echo "The book: _build/html/index.html"

test: extras-test+simulate+slurm lint ## run all checks: lint, tests, the tiny study, its notebooks and its book in a browser (15 minutes)
	$(BIN)/python -m pytest -q -n $(CORES) --dist loadfile --no-loadscope-reorder
	$(STUDY_OF) tiny $(OPTIONS)
	$(BIN)/python workflow/check_notebooks.py build/tiny/notebooks $(CORES)
	$(BIN)/python workflow/check_site.py build/tiny/html
	$(BIN)/python workflow/check_browser.py build/tiny/html --shots build/tiny/screenshots --cores $(CORES) $(BROWSER)
	@echo "All tests passed; the tiny book: build/tiny/html/index.html"

check: extras-test ## check a built book (HTML=folder): links, alt texts, sizes, and every page in a browser
	$(BIN)/python workflow/check_site.py $(call quoted,HTML)
	$(BIN)/python workflow/check_browser.py $(call quoted,HTML) --shots build/screenshots --cores $(CORES) $(BROWSER)

lint: extras-test ## check style and format with ruff
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

study: $(if $(CLUSTER),extras-slurm,install) ## run a PROFILE (reference, camels, ...) and build its book in build/; CLUSTER=slurm uses a cluster
	$(STUDY_OF) $(call quoted,PROFILE) $(OPTIONS)

plan: install ## show the status of every run of PROFILE and the jobs that `make study` would start
	@$(BIN)/python workflow/status.py $(call quoted,PROFILE)
	@$(STUDY_OF) $(call quoted,PROFILE) $(OPTIONS) --dry-run

bench: install ## measure speed and memory, and those of the published recipe (15 minutes, 4 GB of disk)
	$(BIN)/python benchmarks/speed.py

bench-camels: install ## measure time and memory of every stage on a full-size CMD file (8.1 GB of disk)
	$(BIN)/python benchmarks/camels.py

bench-attribution: install ## measure the speed of attribution, and that of a plain loop over captum
	OMP_NUM_THREADS=$(CORES) MKL_NUM_THREADS=$(CORES) $(BIN)/python benchmarks/attribution.py

bench-cluster: extras-slurm ## run a study on a temporary SLURM cluster of two virtual nodes (needs slurmd and munge)
	$(BIN)/python benchmarks/cluster.py

chaos: extras-test+simulate ## kill a study of 21 runs, and each step that makes data, at 50 random moments (30 minutes)
	$(BIN)/python benchmarks/chaos.py

fuzz: extras-test ## give every reader two thousand random inputs, different each time, and write the table
	COSMOLIB_FUZZ_EXAMPLES=2000 COSMOLIB_FUZZ_TABLE=results/benchmarks/fuzz.json $(BIN)/python -m pytest -q -o faulthandler_timeout=0 tests/test_fuzz.py

clean: ## remove generated files, except runs and the virtual environment
	rm -rf build _build .snakemake .pytest_cache .ruff_cache
