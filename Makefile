# The commands of the project; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

CONFIG ?= config/config.yaml
PROFILE ?= default
# More options and targets for Snakemake, for example ARGS="-n curves".
ARGS ?=
# Stop after so many minutes, to go on later; without end where it is empty.
MINUTES ?=
# A folder that several checkouts share: what one has made the others link to.
CACHE ?=
# 1: archive what was computed too.
WEIGHTS ?=
# What `connect` compares: two checkpoints, their network, images; and the folder that it writes to.
A ?=
B ?=
NETWORK ?=
DATA ?=
OUTPUT ?= results/connected

PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
export PATH := $(BIN):$(PATH)
# With these Python would find other modules, or read text by the user's locale.
unexport PYTHONSAFEPATH PYTHONHOME PYTHONOPTIMIZE PYTHONSTARTUP
export PYTHONUTF8 := 1
# Snakemake's keys know sources and values, not versions of libraries or the machine: those are in the folder's name.
GPUS = $(wildcard /dev/nvidia[0-9]*)
MACHINE = $(if $(filter default,$(PROFILE)),$(if $(GPUS),cuda,cpu),$(PROFILE))
CACHE_KEY = $(shell sha256sum envs/requirements.txt | cut -c1-12)-$(MACHINE)
RUN = python scripts/run_workflow.py --config "$(CONFIG)" --profile "$(PROFILE)"

.PHONY: help reproduce why status cost connect archive test test-cluster lint bench lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20
	@echo
	@echo "  Variables: CONFIG=$(CONFIG) PROFILE=$(PROFILE) MINUTES=$(or $(MINUTES),number) CACHE=folder ARGS=\"options for Snakemake\""

# The environment is as the lock says; `installed` is the lock that it was made from, so that dates do not matter.
# uv, which installs it, is in the lock, and brought by pip before. Bytecode halves the time of importing torch, and
# is not written later where the environment says so or cannot be written to.
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

reproduce: $(VENV)/installed ## run the study of CONFIG to its report, and say what came out
	@$(RUN) --minutes "$(MINUTES)" --cache "$(if $(CACHE),$(CACHE)/$(CACHE_KEY))" -- $(ARGS)

why: $(VENV)/installed ## say which jobs of CONFIG would run, and because of what
	@mkdir -p .snakemake
	@$(RUN) -- --dry-run --printshellcmds --quiet host > .snakemake/plan.txt 2>&1 || { cat .snakemake/plan.txt; exit 1; }
	@python scripts/explain_plan.py --plan .snakemake/plan.txt

status: $(VENV)/installed ## say from another terminal how far the run of CONFIG is
	@python scripts/show_status.py --config "$(CONFIG)"

cost: $(VENV)/installed ## count jobs and image passes of CONFIG, and hours where speed was measured
	@python scripts/estimate_cost.py --config "$(CONFIG)"

connect: $(VENV)/installed ## say whether two networks of one's own, A and B, are connected: NETWORK=, DATA=, ARGS="--curve 10"
	$(if $(and $(A),$(B),$(NETWORK),$(DATA)),,$(error give A=, B=, NETWORK= and DATA=, as in config/examples/own_network.py))
	@python scripts/connect.py "$(A)" "$(B)" --network "$(NETWORK)" --data "$(DATA)" --output "$(OUTPUT)" $(ARGS)

archive: $(VENV)/installed ## pack what CONFIG has made into one file to publish; WEIGHTS=1: with its networks
	@python scripts/archive.py --config "$(CONFIG)" $(if $(filter 1,$(WEIGHTS)),--weights)

# Files in the order of testpaths, the longest first, so that no process ends long before the others.
test: $(VENV)/installed ## run the tests; COVERAGE=1: and say which lines of scripts/ no process of pytest ran
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

lock: $(VENV)/installed ## resolve pyproject.toml anew into envs/
	uv pip compile --quiet --universal --generate-hashes --upgrade --python-version 3.11 --extra workflow --extra dev pyproject.toml -o envs/requirements.txt
	$(PYTHON) envs/make_conda.py

clean: ## remove results, environment and caches, after showing the list
	@echo "This removes:"; ls -d results/* .snakemake $(VENV) 2>/dev/null | grep -v README.md || true
	@read -r -p "Go on? [y/N] " answer && [ "$$answer" = y ]
	rm -rf .snakemake $(VENV)
	find results -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} + # a link goes, not what it leads to
