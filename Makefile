# All that these targets install, write and leave behind is inside the checkout: .venv, .cache, .demo and dist.

PYTHON ?= python3
CONSTRAINTS := constraints/airflow-3.txt
VENV := .venv
READY := $(VENV)/.ready
NOX := $(VENV)/bin/nox
UV := .cache/uv/bin/uv

export PIP_CACHE_DIR := $(CURDIR)/.cache/pip
export UV_CACHE_DIR := $(CURDIR)/.cache/uv-cache
export UV_SYSTEM_CERTS := 1
export UV_PYTHON_DOWNLOADS := never
export TMPDIR := $(CURDIR)/.cache/tmp
export AIRFLOW_HOME := $(CURDIR)/.cache/airflow
$(shell mkdir -p .cache/tmp)

.PHONY: help demo test test-lines test-s3 test-celery screenshots figures docs links lint types build check-wheel \
  audit check public-api constraints clean

help:
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(READY) ## run an example DAG on a real Airflow; KEEP=1 leaves its UI up until Ctrl-C
	@$(VENV)/bin/python -m dev.demo

# The tests in tests/e2e mostly wait for the Airflow that they share, so the others run beside them and are shown after.
# Those mostly wait, too, for each other's servers: four at a time. What fails beside others runs once more, alone.
PYTEST := $(VENV)/bin/python -m pytest
OTHERS := $(PYTEST) --ignore=tests/e2e -o cache_dir=.cache/pytest-others
PARALLEL := -n 4 --dist worksteal
ALONE := --last-failed --last-failed-no-failures none
test: $(READY) ## all tests, on the newest Airflow
	@$(OTHERS) $(PARALLEL) --junitxml .cache/tests-other.xml > .cache/other-tests.log 2>&1 & \
	  others=$$!; trap 'kill $$others' INT TERM; \
	  $(PYTEST) tests/e2e --junitxml .cache/tests-e2e.xml || $(PYTEST) tests/e2e $(ALONE); e2e=$$?; \
	  wait $$others; others=$$?; cat .cache/other-tests.log; \
	  [ $$others = 0 ] || $(OTHERS) $(ALONE); others=$$?; exit $$((e2e + others))

# Each has an environment of its own: noxfile.py. One line alone is test-line-2.11-3.11, for instance.
test-lines: $(READY) ## unit and integration tests on Airflow 2.11, 3.0, the newest and the next, on several Pythons
	@nice $(NOX) -s line

test-line-%: $(READY)
	@nice $(NOX) -s 'line($*)'

test-s3: $(READY) ## files on an S3 of moto's, through Airflow's Amazon provider
	@$(NOX) -s s3

test-celery: $(READY) ## waits on CeleryExecutor, with Redis, PostgreSQL and two workers
	@$(NOX) -s celery

screenshots: $(READY) ## take docs/images anew, in Airflow's UI
	@ROE_SCREENSHOTS=docs/images $(PYTEST) tests/e2e/test_ui.py

figures: $(READY) ## put what the last `make test` measured into docs/reliability.md
	@$(VENV)/bin/python -m dev.figures

docs: $(READY) ## the documentation as a site, in .cache/docs
	@$(VENV)/bin/sphinx-build -q -n -W --keep-going docs .cache/docs
	@echo 'Open .cache/docs/index.html'

links: $(READY) ## whether links to other sites lead somewhere; asks them
	@$(VENV)/bin/sphinx-build -q -b linkcheck docs .cache/links

lint: $(READY) ## formatting, lint and handwriting
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/python -m dev.handwriting
	@$(VENV)/bin/zizmor -q --offline --pedantic .github

types: $(READY) ## static types
	@$(VENV)/bin/mypy

# With the build backend that is pinned, so that what is built twice is the same.
build: $(READY) ## wheel and sdist in dist/
	@rm -rf dist
	@$(VENV)/bin/python -m build --no-isolation
	@$(VENV)/bin/twine check --strict dist/*
	@$(VENV)/bin/check-wheel-contents dist/*.whl

check-wheel: build ## install the wheel into an empty environment and ask Airflow for the provider
	@$(UV) venv -q --clear --seed --python $(PYTHON) .cache/wheel
	@.cache/wheel/bin/python -m pip install -qq -c $(CONSTRAINTS) dist/*.whl
	@cd .cache && wheel/bin/airflow providers list --output plain > providers.txt 2>&1 || (cat providers.txt; false)
	@grep airflow-provider-roe .cache/providers.txt || (cat .cache/providers.txt; false)
	@! grep -iE 'warn|error' .cache/providers.txt
	@cd tests/consumer && ../../$(VENV)/bin/mypy --config-file= --strict --cache-dir ../../.mypy_cache \
	  --python-executable ../../.cache/wheel/bin/python consumer.py

audit: $(READY) ## known vulnerabilities of what is installed; asks the package index
	@$(VENV)/bin/pip-audit --skip-editable

public-api: $(READY) ## what has changed since the last release; RELEASE=1 makes it the interface of a release
	@$(VENV)/bin/python -m dev.public_api $(if $(RELEASE),release)

check: lint types docs test test-lines test-s3 test-celery check-wheel ## lint, types, docs, all tests and check-wheel

# Installs anew what pyproject.toml or the constraints have changed.
$(READY): pyproject.toml $(CONSTRAINTS) $(UV)
	@echo 'Installing Airflow, the provider and its tools (half a minute)'
	@$(UV) venv -q --clear --python $(PYTHON) $(VENV)
	@$(UV) pip install -q --python $(VENV) -c $(CONSTRAINTS) -e . --group dev
	@touch $@

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo >&2 \
	  'This needs Python 3.11 or newer, which $(PYTHON) is not: try again with PYTHON=/path/to/another/python3'; exit 1; }
	@$(PYTHON) -m venv .cache/uv
	@.cache/uv/bin/python -m pip install -qq -c $(CONSTRAINTS) uv
	@touch $@

# For the oldest Python that is supported: what installs there installs on the newer ones.
# What Airflow 3.0.0 wants of universal-pathlib it does not say. The next Airflow may be a pre-release, and nothing else.
constraints: $(UV) ## renew constraints/ with the newest versions
	@for line in 2.11:test 3.0:test 3:dev 3-s3:s3 3-celery:celery 3.4:test; do \
	  case $$line in 2.11:*) wanted='apache-airflow>=2.11,<3';; \
	    3.0:*) wanted='apache-airflow==3.0.0 universal-pathlib<0.3';; \
	    3.4:*) wanted='apache-airflow>=3.4.0b2 apache-airflow-core>=3.4.0b2 apache-airflow-task-sdk>=1.4.0b2';; \
	    *) wanted='apache-airflow>=3';; esac; \
	  printf '%s\n' $$wanted > .cache/line.txt; \
	  $(UV) pip compile -q --upgrade --no-header --no-annotate --python-version 3.11 -c .cache/line.txt \
	    pyproject.toml --group $${line#*:} -o constraints/airflow-$${line%:*}.txt || exit 1; done

clean: ## remove what the other targets have made
	@rm -rf .venv .cache .demo dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
