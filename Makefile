# Commands for people; CONTRIBUTING.md says what each is for. Written for GNU make 3.81 (macOS) and a POSIX shell.
.DEFAULT_GOAL := help
.PHONY: help demo space test test-slow test-all coverage loc durability durability-pythons kill9 replicas soak losses mutants recipes numbers check docs docs-serve build constraints screenshots clean

VENV   := .venv
BIN    := $(VENV)/bin
# the interpreter that makes .venv; empty: the first one that is new enough
PYTHON ?=
# more arguments for pytest, e.g. make test ARGS="tests/unit -k spool"
ARGS   ?=
# the first one that knows dependency groups
NEW_PIP := pip>=25.1
QUIET  := install --quiet --disable-pip-version-check --no-input
PIP    := $(BIN)/python -m pip $(QUIET) -c constraints.txt

help:
	@echo "make demo         a local Hub and the sample Space, until Ctrl-C (PORT=7860, HUB_PORT=a free one)"
	@echo "make space        dist/space: a folder that deploys to a Space as it is (APP=minimal/feedback.py: of one file)"
	@echo "make test         set up and run the tests (ARGS=... goes to pytest)"
	@echo "make test-slow    the tests of the same folders that take more than ten seconds each"
	@echo "make test-all     the tests and every longer suite that CI runs"
	@echo "make coverage     tests/unit and tests/hub with their branch coverage: a table by folder"
	@echo "make durability   kills, exits, outages, lost answers, full disks, replicas: real processes, minutes"
	@echo "make durability-pythons  the same under Python 3.10 and 3.13, in environments of their own (PYTHONS=...)"
	@echo "make kill9        kills at system calls and at random, and of a compactor: POINTS=40 KILLS=40"
	@echo "make replicas     REPLICAS=16 on one repo and its budget of commits, for HOURS=3 of a minute each"
	@echo "make losses       what huggingface_hub's scheduler loses, beside ours: prints the table of docs/losses.md"
	@echo "make mutants      breaks one mechanism after the other; a test must notice each"
	@echo "make recipes      the examples of docs/training_logs.md that need torch: installs 2 GB (6 with CUDA)"
	@echo "make soak         mixed load, faults and restarts for MINUTES=10, and a model of power loss"
	@echo "make load         8 processes on one local Hub, and whether everything is there afterwards: LOAD_MINUTES=1"
	@echo "make compat       other versions of huggingface_hub, and the npm client, against the local Hub"
	@echo "make bench        everything measured, beside huggingface_hub; make bench-quick: 2 minutes"
	@echo "make numbers      append, lock and exit, measured"
	@echo "make check        ruff, mypy --strict and codespell"
	@echo "make docs         the documentation site, built strictly and without a request into build/site; make docs-serve shows it"
	@echo "make build        dist/*.whl and dist/*.tar.gz, checked, and the wheel installed in an empty environment"
	@echo "make loc          lines of code, without blank lines, comments and docstrings"
	@echo "make constraints  write constraints.txt anew, with every python3.10 to 3.13 found"
	@echo "make screenshots  take the pictures in docs/ anew (needs chromium)"
	@echo "make clean        remove .venv, build results and caches (.demo/, the demo's data, stays)"

demo: $(VENV)/demo.stamp
	@$(BIN)/python demo_space/demo.py

space: $(VENV)/demo.stamp
	@$(BIN)/python demo_space/make_space.py $(if $(APP),--app $(APP)) $(if $(REPO),--repo $(REPO))

# More than two processors: tests wait for processes, servers and the disk for a third of their time, and those of
# durability for half of it.
WORKERS ?= 3
# In the order in which they are collected: xdist would begin with the files of most tests, and end with the longest.
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 20 --durations-min 10
TRACED := tests/unit tests/hub
TESTS  := $(TRACED) tests/docs tests/contract tests/datasets tests/mutants tests/recipes tests/browser

# ARGS replaces the folders and the choice by markers.
test: $(VENV)/dev.stamp
	$(PYTEST) $(or $(ARGS),-m "not slow" $(TESTS))

test-slow: $(VENV)/dev.stamp
	$(PYTEST) -m slow --timeout 300 $(TESTS)

# To trace branches costs half as much time again, and shows little in the other folders.
coverage: $(VENV)/dev.stamp
	$(PYTEST) -q -m "not slow" $(TRACED) --cov --cov-report=
	$(BIN)/python -m coverage json -q -o .coverage-report.json
	$(BIN)/python .ci/coverage_by_folder.py .coverage-report.json

test-all: test test-slow recipes load compat durability kill9 mutants losses-ours

durability: WORKERS = 4
durability: $(VENV)/dev.stamp
	$(PYTEST) $(ARGS) tests/durability

# test_pythons.py would do a part of it once more
PYTHONS ?= 3.10 3.13
durability-pythons:
	@for version in $(PYTHONS); do \
	    python=$$(ls -d "$$HOME"/.pyenv/versions/$$version.*/bin/python 2>/dev/null | tail -n 1); \
	    python=$${python:-$$(command -v python$$version)}; \
	    if [ -z "$$python" ]; then echo "There is no Python $$version here" >&2; exit 1; fi; \
	    $(MAKE) VENV=$(VENV)/durability-$$version PYTHON="$$python" ARGS="--ignore tests/durability/test_pythons.py" durability || exit 1; \
	done

POINTS ?= 40
KILLS ?= 40
kill9: $(VENV)/dev.stamp
	$(BIN)/python -m tests.durability.kill9 --points $(POINTS) --kills $(KILLS)
	$(BIN)/python -m tests.durability.kill9 --points $(POINTS) --kills $(KILLS) --bucket
	COMPACTION_KILLS=$(KILLS) $(BIN)/python -m pytest -q tests/durability/test_compaction_kills.py

REPLICAS ?= 16
HOURS ?= 3
replicas: $(VENV)/dev.stamp
	$(BIN)/python -m tests.durability.replicas --replicas $(REPLICAS) --hours $(HOURS)

MINUTES ?= 10
soak: $(VENV)/dev.stamp
	$(BIN)/python -m tests.durability.soak --minutes $(MINUTES)
	$(BIN)/python -m tests.durability.power_loss

losses: $(VENV)/dev.stamp
	$(BIN)/python -m tests.losses.runner
	$(BIN)/python -m tests.losses.runner --bucket

# One after the other: each measures, and load from another would show. PARTS=… picks some.
BENCHES = imports scheduling jsonl reading training_logs parquet uploads local_hub years buckets
.PHONY: bench bench-quick compat
bench: $(VENV)/dev.stamp
	@set -e; for part in $(or $(PARTS),$(BENCHES)); do echo "== $$part"; $(BIN)/python -m tests.benchmarks.$$part; done

bench-quick: $(VENV)/dev.stamp
	$(BIN)/python -m tests.benchmarks.imports
	$(BIN)/python -m tests.benchmarks.scheduling --quick
	$(BIN)/python -m tests.benchmarks.jsonl 20:1000000 60:100000 60:2000
	$(BIN)/python -m tests.benchmarks.training_logs --pushes 40 --last 10 scalars
	$(BIN)/python -m tests.benchmarks.uploads --rounds 1 "1,000 files of 200 kB"
	$(BIN)/python -m tests.benchmarks.local_hub --mib 128 --files 20000 --history 600 --repeat 1

.PHONY: load
LOAD_MINUTES ?= 1
load: $(VENV)/dev.stamp
	$(BIN)/python -m tests.hub.load --minutes $(LOAD_MINUTES)

# By test, not by file: each installs what it needs, which takes one processor.
compat: WORKERS = 4
compat: $(VENV)/dev.stamp
	$(PYTEST) --dist load tests/compat

.PHONY: losses-ours
losses-ours: $(VENV)/dev.stamp
	$(PYTEST) tests/losses

recipes: $(VENV)/recipes/stamp
	REQUIRE_TORCH=1 $(VENV)/recipes/bin/python -m pytest tests/recipes

$(VENV)/recipes/stamp: $(VENV)/dev.stamp tests/recipes/requirements.txt
	@echo "Installing torch, transformers and Lightning: 2 GB, or 6 where pip chooses the CUDA build"
	@$(BIN)/python -m venv --without-pip $(VENV)/recipes
	@$(BIN)/python -m pip --python $(VENV)/recipes/bin/python $(QUIET) --no-compile -e '.[all,demo]' --group dev -r tests/recipes/requirements.txt
	@touch $@

mutants: $(VENV)/dev.stamp
	$(BIN)/python -m tests.mutants.gate $(ARGS)

numbers: $(VENV)/dev.stamp
	$(BIN)/python -m tests.benchmarks.durability

check: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

# An environment of its own: the site needs nothing that the tests need. It is filled by the pip of .venv and not
# compiled: that took most of the time, for modules of which few are used.
docs: $(VENV)/docs/stamp
	NO_MKDOCS_2_WARNING=1 $(VENV)/docs/bin/python -m mkdocs build --strict --quiet
	$(VENV)/docs/bin/python .ci/check_site.py build/site

docs-serve: $(VENV)/docs/stamp
	$(VENV)/docs/bin/python -m mkdocs serve

$(VENV)/docs/stamp: pyproject.toml | $(VENV)/pip.stamp
	@echo "Installing MkDocs"
	@$(BIN)/python -m venv --without-pip $(VENV)/docs
	@$(BIN)/python -m pip --python $(VENV)/docs/bin/python $(QUIET) --no-compile -e '.[local-hub,parquet]' --group docs
	@touch $@

build: $(VENV)/build/stamp
	rm -rf dist/*.whl dist/*.tar.gz
	$(VENV)/build/bin/python -m build --quiet
	$(VENV)/build/bin/python -m twine check --strict dist/*.whl dist/*.tar.gz
	$(VENV)/build/bin/python .ci/check_readme.py dist/*.whl dist/*.tar.gz
	$(BIN)/python -m venv --clear $(VENV)/empty
	$(VENV)/empty/bin/python -m pip $(QUIET) dist/*.whl
	$(VENV)/empty/bin/hubspool --version
	$(VENV)/empty/bin/python -c 'import hubspool, hubspool_templates; hubspool.HfApi, hubspool.CommitScheduler'

$(VENV)/build/stamp: $(BIN)/python pyproject.toml
	@$(BIN)/python -m venv $(VENV)/build
	@$(VENV)/build/bin/python -m pip $(QUIET) '$(NEW_PIP)'
	@$(VENV)/build/bin/python -m pip $(QUIET) --group build
	@touch $@

loc:
	@$(or $(wildcard $(BIN)/python),python3) .ci/loc.py

constraints: $(VENV)/dev.stamp
	$(BIN)/python .ci/constraints.py > constraints.new
	mv constraints.new constraints.txt

screenshots: $(VENV)/dev.stamp
	HUBSPOOL_SCREENSHOTS=docs $(BIN)/python -m pytest -q tests/browser/test_screenshots.py tests/browser/test_hub_screenshot.py

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@rm -rf $(VENV); \
	for name in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.10 python); do \
	    if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then found=$$name; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "Python 3.10 or newer is needed$(if $(PYTHON),; PYTHON=$(PYTHON) is not one,). Install it, or name it: make PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	fi; \
	echo "Making $(VENV) with $$found ($$($$found -c 'import platform; print(platform.python_version())'))"; \
	"$$found" -m venv $(VENV) && $(BIN)/python -m pip --version >/dev/null || { \
	    rm -rf $(VENV); \
	    echo "$$found could not make a virtual environment. On Debian or Ubuntu: apt-get install python3-venv" >&2; \
	    exit 1; \
	}

$(VENV)/pip.stamp: $(BIN)/python
	@$(PIP) '$(NEW_PIP)'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(VENV)/pip.stamp
	@echo "Installing hubspool and what its tests need (the first time takes a few minutes)"
	@$(PIP) -e '.[all,demo]' --group dev
	@touch $(VENV)/demo.stamp $@

$(VENV)/demo.stamp: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing what the demo needs into $(VENV): 68 packages, 140 MB, once"
	@$(BIN)/python .ci/install.py demo
	@touch $@
