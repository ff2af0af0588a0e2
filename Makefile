# All that these targets install, write and leave behind is inside the checkout: .venv, .cache, .demo and dist.

PYTHON ?= python3
CONSTRAINTS := constraints/airflow-3.txt
VENV := .venv
READY := $(VENV)/.ready
BENCH := $(VENV)/.ready-to-bench
PEERS := .cache/bench-peers

export PIP_CACHE_DIR := $(CURDIR)/.cache/pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export TMPDIR := $(CURDIR)/.cache/tmp
export AIRFLOW_HOME := $(CURDIR)/.cache/airflow
$(shell mkdir -p .cache/tmp)

.PHONY: help demo test lint types build check-wheel check bench bench-soak bench-peers constraints clean

help:
	@echo 'make demo         run an example DAG on a real Airflow; KEEP=1 leaves its UI up until Ctrl-C'
	@echo 'make test         all tests'
	@echo 'make lint         formatting and lint'
	@echo 'make types        static types'
	@echo 'make build        wheel and sdist in dist/'
	@echo 'make check-wheel  install the wheel into an empty environment and ask Airflow for the provider'
	@echo 'make check        all of these but the demo'
	@echo 'make bench        measure what waits cost, against the floor: 25 minutes'
	@echo 'make bench-soak   how that grows with the number of waits, and 10,000 for 10 minutes: 40 minutes'
	@echo 'make bench-peers  the same work done by the newest triggers of other providers: half an hour'
	@echo 'make constraints  renew $(CONSTRAINTS) with the newest versions'
	@echo 'make clean        remove what the other targets have made'

demo: $(READY)
	@$(VENV)/bin/python -m dev.demo

# The tests in tests/e2e mostly wait for the Airflow that they share, so the others run beside them and are shown after.
PYTEST := $(VENV)/bin/python -m pytest
test: $(READY)
	@$(PYTEST) --ignore=tests/e2e > .cache/other-tests.log 2>&1 & others=$$!; trap 'kill $$others' INT TERM; \
	  $(PYTEST) tests/e2e; e2e=$$?; \
	  wait $$others; others=$$?; cat .cache/other-tests.log; exit $$((e2e + others))

lint: $(READY)
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .

types: $(READY)
	@$(VENV)/bin/mypy

build: $(READY)
	@rm -rf dist
	@$(VENV)/bin/python -m build

check-wheel: build
	@rm -rf .cache/wheel
	@$(PYTHON) -m venv .cache/wheel
	@.cache/wheel/bin/python -m pip install -qq -c $(CONSTRAINTS) pip
	@.cache/wheel/bin/python -m pip install -qq -c $(CONSTRAINTS) dist/*.whl
	@cd .cache && wheel/bin/airflow providers list --output plain > providers.txt 2>&1 || (cat providers.txt; false)
	@grep airflow-provider-roe .cache/providers.txt || (cat .cache/providers.txt; false)
	@! grep -iE 'warn|error' .cache/providers.txt

check: lint types test check-wheel

# What they measure takes the place of what is in benchmarks/results and docs/performance. A quiet machine is needed.
bench: $(BENCH)
	@$(VENV)/bin/python -m benchmarks.run '1000 waits' '5000 waits' keep-alive poke imports
	@$(VENV)/bin/python -m benchmarks.report

bench-soak: $(BENCH)
	@$(VENV)/bin/python -m benchmarks.run scale soak
	@$(VENV)/bin/python -m benchmarks.report

bench-peers:
	@rm -rf $(PEERS)
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install -qq -c $(CONSTRAINTS) pip
	@echo 'Installing the newest of the other providers (a minute or two)'
	@$(PEERS)/bin/python -m pip install -qq "$$(grep '^apache-airflow==' $(CONSTRAINTS))" -e . --group bench \
	  $(addprefix apache-airflow-providers-,airbyte databricks dbt-cloud http)
	@$(PEERS)/bin/python -m benchmarks.run peers 'poke of peers' 'imports of peers' 'short wait'
	@$(PEERS)/bin/python -m benchmarks.report

$(BENCH): $(READY)
	@$(VENV)/bin/python -m pip install -qq -c $(CONSTRAINTS) --group bench
	@touch $@

# Installs anew what pyproject.toml or the constraints have changed; a venv that does not work is made anew.
$(READY): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo >&2 \
	  'This needs Python 3.11 or newer, which $(PYTHON) is not: try again with PYTHON=/path/to/another/python3'; exit 1; }
	@$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || { \
	  echo 'Creating $(VENV) with $(PYTHON)'; $(PYTHON) -m venv --clear $(VENV); }
	@$(VENV)/bin/python -m pip install -qq -c $(CONSTRAINTS) pip
	@echo 'Installing Airflow, the provider and its tools (a minute or two)'
	@$(VENV)/bin/python -m pip install -qq -c $(CONSTRAINTS) -e . --group dev
	@touch $@

# Run it with the oldest Python that is supported: what installs there installs on the newer ones.
constraints:
	@rm -rf .cache/constraints
	@$(PYTHON) -m venv .cache/constraints
	@.cache/constraints/bin/python -m pip install -qq --upgrade pip
	@.cache/constraints/bin/python -m pip install -qq 'apache-airflow>=3' -e . --group dev
	@.cache/constraints/bin/python -m pip freeze -qq --all --exclude-editable --exclude setuptools > .cache/constraints.txt
	@mv .cache/constraints.txt $(CONSTRAINTS)

clean:
	@rm -rf .venv .cache .demo dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
