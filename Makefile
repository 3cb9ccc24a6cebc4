# The commands of the project; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

CONFIG ?= config/config.yaml
PROFILE ?= default
# More options and targets for Snakemake, for example ARGS="-n curves".
ARGS ?=
# Stop after so many minutes, to resume later; no limit if empty.
MINUTES ?=
# A cache: a folder of results that several checkouts share by links.
CACHE ?=
# 1: also archive networks, permutations, curves and measurements.
WEIGHTS ?=
# Arguments of `connect`: two checkpoints, their network, images; and its output folder.
A ?=
B ?=
NETWORK ?=
DATA ?=
OUTPUT ?= results/connected

PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
export PATH := $(BIN):$(PATH)
# Variables by which Python would find other modules, or read text in the user's locale.
unexport PYTHONSAFEPATH PYTHONHOME PYTHONOPTIMIZE PYTHONSTARTUP
export PYTHONUTF8 := 1
# Keys of Snakemake's cache hold sources and values; versions of libraries and the kind of machine are in the path.
GPUS = $(wildcard /dev/nvidia[0-9]*)
MACHINE = $(if $(filter default,$(PROFILE)),$(if $(GPUS),cuda,cpu),$(PROFILE))
CACHE_KEY = $(shell sha256sum envs/requirements.txt | cut -c1-12)-$(MACHINE)
RUN = python scripts/run_workflow.py --config "$(CONFIG)" --profile "$(PROFILE)"

.PHONY: help reproduce why status cost connect archive test test-cluster lint bench lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20
	@echo
	@echo "  Variables: CONFIG=$(CONFIG) PROFILE=$(PROFILE) MINUTES=$(or $(MINUTES),number) CACHE=folder ARGS=\"options for Snakemake\""
	@echo "  of connect: OUTPUT=$(OUTPUT); of the environment: VENV=$(VENV) PYTHON=$(PYTHON)"

# The environment holds the versions of the lock file; `installed` is a copy of the lock file that it was made from, so
# that dates do not matter. uv, which makes it, is installed by pip if it is missing. Bytecode is compiled now, since it
# halves the time of importing torch, and may not be written later if the environment is read-only.
$(VENV)/installed: envs/requirements.txt
	@cmp -s $< $@ || $(MAKE) --no-print-directory install
	@cp $< $@

.PHONY: install
install:
	@echo "Installing the environment into $(VENV) (about 6 GB with torch) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv --clear $(VENV)
	@command -v uv > /dev/null || "$(BIN)/python" -m pip install --quiet --disable-pip-version-check uv
	@uv pip sync --quiet --compile-bytecode --python "$(BIN)/python" envs/requirements.txt

reproduce: $(VENV)/installed ## run the study of CONFIG, from data to report, and print its summary
	@$(RUN) --minutes "$(MINUTES)" --cache "$(if $(CACHE),$(CACHE)/$(CACHE_KEY))" -- $(ARGS)

why: $(VENV)/installed ## say which jobs of CONFIG would run, and why
	@mkdir -p .snakemake
	@echo "planning $(CONFIG) ..." >&2
	@$(RUN) -- --dry-run --printshellcmds --quiet host > .snakemake/plan.txt 2>&1 || { cat .snakemake/plan.txt; exit 1; }
	@python scripts/explain_plan.py --plan .snakemake/plan.txt

status: $(VENV)/installed ## print the progress of CONFIG's run, from another terminal
	@python scripts/show_status.py --config "$(CONFIG)"

cost: $(VENV)/installed ## count jobs and image passes of CONFIG, and estimate hours where speed was measured
	@python scripts/estimate_cost.py --config "$(CONFIG)"

connect: $(VENV)/installed ## say whether your networks A and B are connected: A=a.pt B=b.pt NETWORK= DATA= ARGS="--curve 10"
	$(if $(and $(A),$(B),$(NETWORK),$(DATA)),,$(error give A=, B=, NETWORK= and DATA=, as in config/examples/own_network.py))
	@python scripts/connect.py "$(A)" "$(B)" --network "$(NETWORK)" --data "$(DATA)" --output "$(OUTPUT)" $(ARGS)

archive: $(VENV)/installed ## pack the finished run of CONFIG into one file to publish; WEIGHTS=1: with its networks
	@python scripts/archive.py --config "$(CONFIG)" $(if $(filter 1,$(WEIGHTS)),--weights)

# Files in the order of testpaths, the longest first, so that all processes end at about the same time.
test: $(VENV)/installed ## run the tests; COVERAGE=1: also list lines of scripts/ that pytest's processes did not run
	python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(if $(COVERAGE),--cov --cov-report=term-missing:skip-covered)

test-cluster: $(VENV)/installed ## run the tests on a SLURM of their own (slurm-wlm and munge have to be installed)
	python -m pytest tests/cluster --require-slurm

lint: $(VENV)/installed ## check format and style of Python and of the workflow
	ruff check .
	ruff format --check .
	mypy scripts
	snakefmt --check workflow
	snakemake --lint

bench: $(VENV)/installed ## measure the kernels, and the workflow with up to 10,000 jobs
	python tests/benchmarks/run.py
	python tests/benchmarks/growth.py
	python tests/benchmarks/scale.py

lock: $(VENV)/installed ## resolve pyproject.toml again into envs/requirements.txt
	uv pip compile --quiet --universal --generate-hashes --upgrade --python-version 3.11 --extra workflow --extra dev pyproject.toml -o envs/requirements.txt
	$(PYTHON) envs/make_conda.py

clean: ## remove results, environment and caches, after showing the list
	@echo "This removes:"; ls -d results/* .snakemake $(VENV) 2>/dev/null | grep -v README.md || true
	@read -r -p "Go on? [y/N] " answer && [ "$$answer" = y ]
	rm -rf .snakemake $(VENV)
	find results -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} + # removes links, not their targets
