# lumbar-node: everything is done through these words; `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# PyTorch's own index of CPU builds, asked only without an NVIDIA driver and without a local wheel.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# Folder of wheels that is looked through for it first.
TORCH_WHEELS ?=
# uv finds the same versions everywhere: hashes, every platform, no host names, no accelerators, and
# nothing that reports from a hospital to anybody (OpenVINO works without its telemetry).
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 \
	--generate-hashes --no-emit-package torch --no-emit-package openvino-telemetry --no-emit-package lumbar-node --no-header --no-annotate --quiet
PIP := $(BIN)/python -m pip
HASHED := $(PIP) install -qq --require-hashes --no-deps

# One thread each: the tests run on every core by themselves.
RUN_TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
QUICK := tests/unit tests/docs -m quick --numprocesses logical --dist worksteal
# What measures time or memory, with nothing beside it; then the others side by side, as tests/support/scheduling.py says.
ALONE := $$(grep -rl --include='test_*.py' 'mark[.]serial' tests) -m serial
TOGETHER := tests -m "not serial" --numprocesses auto --dist loadfile

.PHONY: help install install-service install-gpu install-cluster demo test test-quick test-install fault lint fmt lock wheelhouse deb image reproduce-model clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.train ## .venv with lumbar-node and lumbar-train, from the lock files

install-service: $(VENV)/.base ## .venv with lumbar-node alone, without torch: all that a CPU needs

install-gpu: $(VENV)/.gpu ## the same with torch, for an NVIDIA GPU

install-cluster: $(VENV)/.cluster ## the service with what spreads its work over other machines

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: apt install python3 python3-venv" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; say which: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV) || \
		{ echo "python3-venv is missing: apt install python3-venv" >&2; rm -rf $(VENV); exit 2; }

$(VENV)/.base: requirements/build.lock requirements/base.lock pyproject.toml | $(BIN)/python
	@echo "== packages of the service, checked by hash (about 130 MB, once; a minute)"
	$(HASHED) -r requirements/build.lock -r requirements/base.lock
	$(PIP) install -qq --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.gpu: requirements/gpu.lock requirements/accelerators.txt requirements/torch.sh $(VENV)/.base
	@echo "== torch, and what it needs"
	$(HASHED) -r requirements/gpu.lock
	TORCH_INDEX="$(TORCH_INDEX)" TORCH_WHEELS="$(TORCH_WHEELS)" sh requirements/torch.sh $(BIN)/python
	@touch $@

$(VENV)/.cluster: requirements/cluster.lock $(VENV)/.base
	@echo "== what spreads the work over other machines"
	$(HASHED) -r requirements/cluster.lock
	@touch $@

$(VENV)/.train: requirements/train.lock $(VENV)/.gpu
	@echo "== packages of the training"
	$(HASHED) -r requirements/train.lock
	@touch $@

$(VENV)/.dev: requirements/dev.lock $(VENV)/.train
	@echo "== packages of the tests"
	$(HASHED) -r requirements/dev.lock
	@touch $@

demo: ## synthetic studies through a real Orthanc and the node; KEEP=1 leaves them up
	sh orthanc/packages.sh demo
	@$(MAKE) --no-print-directory install
	sh orthanc/ohif.sh .cache/ohif || echo "OHIF could not be fetched: no viewer this time"
	$(BIN)/lumbar-node demo $(if $(KEEP),--keep) $(if $(OUT),--out "$(OUT)")

test: ## every test that can run here; TESTS=tests/unit/node chooses some
	sh orthanc/packages.sh test
	@$(MAKE) --no-print-directory $(VENV)/.dev
	sh orthanc/ohif.sh .cache/ohif || echo "OHIF could not be fetched: the browser tests will skip"
	sh orthanc/axe.sh .cache/axe || echo "axe-core could not be fetched: tests of accessibility will skip"
ifdef TESTS
	$(RUN_TESTS) $(TESTS) $(PYTEST)
else
	failed=0; \
	$(RUN_TESTS) $(ALONE) $(PYTEST) || failed=1; \
	$(RUN_TESTS) $(TOGETHER) $(PYTEST) || failed=1; \
	exit $$failed
endif

test-quick: $(VENV)/.dev ## unit tests and documents, on every core; two minutes on two cores
	$(RUN_TESTS) $(QUICK) $(PYTEST)

fault: ## kills, full disks, bad peers, fuzzing: nothing may be lost; SCENARIO=name, FAULT_SCALE=0.1, FAULT_SEED=number
	sh orthanc/packages.sh test
	@$(MAKE) --no-print-directory $(VENV)/.dev
	$(BIN)/python -m tests.fault

test-install: wheelhouse $(VENV)/.dev ## the package in a booted Debian, the image in podman; needs root, takes minutes
	LUMBAR_TEST_INSTALL=1 $(RUN_TESTS) tests/install -rA $(PYTEST)

lint: $(VENV)/.dev ## ruff, format, types, layers, spelling, words
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python docs/words.py

fmt: $(VENV)/.dev ## format and repair what can be repaired
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: | $(BIN)/python ## renew the lock files; UPGRADE=1 takes new versions
	@test -x $(BIN)/uv || $(PIP) install --quiet uv
	$(COMPILE) $(if $(UPGRADE),--upgrade) --output-file requirements/base.lock
	$(COMPILE) $(if $(UPGRADE),--upgrade) --extra gpu --constraint requirements/base.lock --output-file requirements/gpu.lock
	$(COMPILE) $(if $(UPGRADE),--upgrade) --extra train --constraint requirements/gpu.lock --output-file requirements/train.lock
	$(COMPILE) $(if $(UPGRADE),--upgrade) --extra cluster --constraint requirements/base.lock --output-file requirements/cluster.lock
	$(COMPILE) $(if $(UPGRADE),--upgrade) --extra train --extra cluster --extra dev --constraint requirements/train.lock --constraint requirements/cluster.lock --output-file requirements/dev.lock
	$(BIN)/uv pip compile requirements/build.in --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --quiet $(if $(UPGRADE),--upgrade) --constraint requirements/dev.lock --output-file requirements/build.lock
	sh requirements/accelerators.sh $(BIN)/uv > requirements/accelerators.new
	mv requirements/accelerators.new requirements/accelerators.txt

wheelhouse: | $(BIN)/python ## dist/bundle: wheels, lock and install.sh, for machines without a network
	$(BIN)/python deploy/bundle.py $(if $(GPU),--gpu)

deb: wheelhouse ## a Debian package of the bundle, for this machine's Debian release; CLUSTER=1 with scheduler and worker
	sh deploy/deb/build.sh dist/bundle dist $(if $(CLUSTER),--cluster)

image: wheelhouse ## a container image of the bundle, by buildah or docker: lumbar-node:VERSION; CLUSTER=1 as above
	PARTS=$(if $(CLUSTER),--cluster) sh deploy/image/build.sh dist/bundle

reproduce-model: install ## train a bundle from phantoms and SPIDER, days; SPIDER=folder OUT=folder RECIPE=gpu SHORT=1
	SHORT=$(SHORT) sh training/reproduce.sh $(BIN)/python "$(or $(SPIDER),../shared/data/spider)" "$(or $(OUT),reproduced)" $(or $(RECIPE),cpu)

clean: ## remove what was made here; .venv and downloads stay
	rm -rf demo-out fault-out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build dist
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
