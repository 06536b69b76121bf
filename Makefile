# Every target sets up what it needs: a virtual environment in .venv, installed once.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
DOCS_READY := .venv/docs-ready
HOME_DIR ?= .powgate
STUBS := protos/gate_pb2.py protos/gate_pb2.pyi protos/gate_pb2_grpc.py

.PHONY: help setup demo test test-fast test-all check bench server attack docs protos clean

help:
	@echo "make demo    copy a digit classifier, with and without the gate: table and report"
	@echo "make test    the tests but the slow ones; make test-all  all of them, as CI runs them"
	@echo "make test-fast  those that start no process and train nothing: under a minute"
	@echo "make check   stale stubs, format, lint, types, imports"
	@echo "make bench   hash rates, whole queries, measures, defences, floods"
	@echo "make server  a gate on 127.0.0.1:50051 in front of a victim trained on digits"
	@echo "make attack  one attacker against it (ATTACK=knockoff); at its price this takes half an hour"
	@echo "make docs    the documentation as a small site in site/"
	@echo "make protos  generate the stubs of protos/gate.proto again"
	@echo "make setup   install only;  make clean  remove what make made"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(0 if sys.version_info >= (3, 11) else f"powgate needs Python 3.11 or newer; $(PYTHON) is {v}: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(BIN)/python -m pow warm
	@touch $@

demo: $(READY)
	$(BIN)/python -m experiments run demo --home $(HOME_DIR)

test: $(READY)
	$(BIN)/pytest -m "not slow"

test-fast: $(READY)
	$(BIN)/pytest -m "not slow and not process"

test-all: $(READY)
	$(BIN)/pytest

check: $(READY)
	@mkdir -p .venv/fresh && $(BIN)/python -m grpc_tools.protoc -I . --python_out=.venv/fresh \
	    --pyi_out=.venv/fresh --grpc_python_out=.venv/fresh protos/gate.proto
	@for stub in $(STUBS); do cmp $$stub .venv/fresh/$$stub || \
	    { echo "$$stub is stale: run make protos"; exit 1; }; done
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	@$(BIN)/lint-imports > .venv/imports.txt || { cat .venv/imports.txt; exit 1; }

bench: $(READY)
	for name in puzzles gate measures defences flood; do \
	    $(BIN)/python -m benchmarks $$name || exit 1; done

server: $(READY)
	$(BIN)/python -m server prepare --home $(HOME_DIR)
	test -e $(HOME_DIR)/models/mnist5k/calibration-surprisal-typicality.json || \
	    $(BIN)/python -m server calibrate --home $(HOME_DIR)
	$(BIN)/python -m server serve --home $(HOME_DIR) --open

ATTACK ?= knockoff
attack: $(READY)
	$(BIN)/python -m attacks $(ATTACK) --target 127.0.0.1:50051 --client-id attacker --home $(HOME_DIR)

$(DOCS_READY): $(READY)
	PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@

docs: $(DOCS_READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html; its search needs a server: $(BIN)/python -m http.server --directory site"

protos: $(READY)
	$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpc_python_out=. \
	    protos/gate.proto

clean:
	rm -rf .venv .powgate runs site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	    .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
