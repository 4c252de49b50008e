# Every target makes what it needs: `make demo` and `make test` work on a fresh machine.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
HEAVY  := .venv-engines
SOAK_S ?= 3600
ROUNDS ?= 200

.PHONY: demo test heavy gpu engines check lint fast bench docs format clean soak help

help:             ## this list
	@grep -hE '^[a-z]+: .*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: $(STAMP)    ## transcribe a real recording through a pool of two warm workers
	@$(BIN)/asrd demo

test: lint        ## linters and all tests, but for those of `make heavy`
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10

heavy: engines    ## the engines on torch, for real: 2 GB of packages, a few minutes
	ASRD_TEST_ENGINES_PYTHON=$(CURDIR)/$(HEAVY)/whisperx/bin/python \
	  $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests/engines

gpu: $(STAMP)     ## the tests that need an NVIDIA GPU; they take nearly all of its memory for a while
	$(BIN)/python -m pip install --quiet --editable '.[dev,cuda12]'
	$(BIN)/python -m pytest -s tests/gpu

check: test heavy ## all that CI runs

engines: $(STAMP) ## the environment of `make heavy`, by the command that users have
	$(BIN)/asrd engines install whisperx --cpu --dir $(HEAVY)

lint: $(STAMP)    ## formatting, style, types, arrows between the parts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fast: $(STAMP)    ## the tests that need no process
	$(BIN)/python -m pytest -n 2 tests/unit tests/property tests/conformance

soak: $(STAMP)    ## an hour under fire, and 200 kills of the supervisor; SOAK_S=60 ROUNDS=20 for less
	PYTHONPATH=tests $(BIN)/python -m support.soak --seconds $(SOAK_S)
	ASRD_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest -s tests/chaos/test_supervisor_killed.py

bench: $(STAMP)   ## measure, beside the references, and print ratios
	$(BIN)/python benchmarks/run.py

docs: $(STAMP)    ## write the generated pages anew
	$(BIN)/python -m asrd_supervisor.core.diagram > docs/lifecycle.md
	$(BIN)/python -m asrd_supervisor.manual > docs/config.md
	$(BIN)/python -m asrd_protocol.schema

format: $(STAMP)  ## put the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:            ## remove what make has made
	rm -rf $(VENV) $(HEAVY) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(STAMP)
