# All that these targets install, write and leave behind is inside the checkout: .venv, .cache, .demo and dist.

PYTHON ?= python3
CONSTRAINTS := constraints/airflow-3.txt
VENV := .venv
READY := $(VENV)/.ready
BENCH := $(VENV)/.ready-to-bench
PEERS := .cache/bench-peers
S3 := .cache/s3
UV := .cache/uv/bin/uv

export PIP_CACHE_DIR := $(CURDIR)/.cache/pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export UV_CACHE_DIR := $(CURDIR)/.cache/uv-cache
export UV_NATIVE_TLS := 1
export UV_PYTHON_DOWNLOADS := never
export TMPDIR := $(CURDIR)/.cache/tmp
export AIRFLOW_HOME := $(CURDIR)/.cache/airflow
$(shell mkdir -p .cache/tmp)

.PHONY: help demo test test-lines test-s3 screenshots docs links lint types build check-wheel audit check \
  public-api bench bench-soak bench-peers constraints clean

help:
	@echo 'make demo         run an example DAG on a real Airflow; KEEP=1 leaves its UI up until Ctrl-C'
	@echo 'make test         all tests, on the newest Airflow'
	@echo 'make test-lines   unit and integration tests on Airflow 2.11, 3.0 and the newest, also on newer Pythons'
	@echo 'make test-s3      files on an S3 of moto'"'"'s, through Airflow'"'"'s Amazon provider'
	@echo 'make screenshots  take docs/images anew, in Airflow'"'"'s UI'
	@echo 'make docs         the documentation as a site, in .cache/docs'
	@echo 'make links        whether links to other sites lead somewhere; asks them'
	@echo 'make lint         formatting and lint'
	@echo 'make types        static types'
	@echo 'make build        wheel and sdist in dist/'
	@echo 'make check-wheel  install the wheel into an empty environment and ask Airflow for the provider'
	@echo 'make check        all of these but the demo'
	@echo 'make audit        known vulnerabilities of what is installed; asks the package index'
	@echo 'make public-api   what has changed since the last release; RELEASE=1 makes it the interface of a release'
	@echo 'make bench        measure what waits cost, against the floor: 25 minutes'
	@echo 'make bench-soak   how that grows with the number of waits, and 10,000 for 10 minutes: 40 minutes'
	@echo 'make bench-peers  the same work done by the newest triggers of other providers: half an hour'
	@echo 'make constraints  renew constraints/ with the newest versions'
	@echo 'make clean        remove what the other targets have made'

demo: $(READY)
	@$(VENV)/bin/python -m dev.demo

# The tests in tests/e2e mostly wait for the Airflow that they share, so the others run beside them and are shown after.
PYTEST := $(VENV)/bin/python -m pytest
test: $(READY)
	@$(PYTEST) --ignore=tests/e2e > .cache/other-tests.log 2>&1 & others=$$!; trap 'kill $$others' INT TERM; \
	  $(PYTEST) tests/e2e; e2e=$$?; \
	  wait $$others; others=$$?; cat .cache/other-tests.log; exit $$((e2e + others))

# Each line of Airflow on the oldest Python and on the newest; what `make test` runs on is not among them.
# The first also runs the examples on a real Airflow 2.11, and shows its connection form to a browser.
LINES := 2.11-oldest-python 2.11-newest-python 3.0-oldest-python 3.0-newest-python 3-newest-python
TEST_LINES := $(addprefix test-line-,$(LINES))
.PHONY: $(TEST_LINES)
test-lines: $(TEST_LINES)
test-line-2.11-oldest-python: TESTS := tests/unit tests/integration tests/e2e
test-line-%: TESTS ?= tests/unit tests/integration
$(TEST_LINES): test-line-%: .cache/lines/%/.ready
	@printf '\nAirflow %s, %s\n' "$$(.cache/lines/$*/bin/python -c 'import airflow; print(airflow.__version__)')" \
	  "$$(.cache/lines/$*/bin/python --version)"
	@nice .cache/lines/$*/bin/python -m pytest -q $(TESTS)

# The Pythons that a line of Airflow supports, newest first; and the first that is here, be it one of pyenv's that is
# not on the PATH, or else what there is.
PYTHONS_2.11 := 3.12
PYTHONS_3.0 := 3.12
PYTHONS_3 := 3.14 3.13 3.12
newest_python = $(firstword $(foreach version,$(PYTHONS_$1),$(shell for python in python$(version) \
  $(HOME)/.pyenv/versions/$(version).*/bin/python; do $$python -c pass 2>/dev/null && echo $$python; done)) $(PYTHON))
AIRFLOW_OF_LINE = $(firstword $(subst -, ,$*))

.cache/lines/%/.ready: pyproject.toml constraints/*.txt $(UV)
	@$(UV) venv -q --clear $(@D) \
	  --python $(if $(findstring newest,$*),$(call newest_python,$(AIRFLOW_OF_LINE)),$(PYTHON))
	@$(UV) pip install -q --python $(@D) -c constraints/airflow-$(AIRFLOW_OF_LINE).txt -e . --group test
	@touch $@

test-s3: $(S3)/.ready
	@$(S3)/bin/python -m pytest -q tests/s3

$(S3)/.ready: pyproject.toml constraints/airflow-3-s3.txt $(UV)
	@$(UV) venv -q --clear --python $(PYTHON) $(S3)
	@$(UV) pip install -q --python $(S3) -c constraints/airflow-3-s3.txt -e . --group s3
	@touch $@

# Pictures of what tests see in Airflow's UI.
screenshots: $(READY)
	@ROE_SCREENSHOTS=docs/images $(PYTEST) tests/e2e/test_ui.py

docs: $(READY)
	@$(VENV)/bin/sphinx-build -q -n -W --keep-going docs .cache/docs
	@echo 'Open .cache/docs/index.html'

links: $(READY)
	@$(VENV)/bin/sphinx-build -q -b linkcheck docs .cache/links

lint: $(READY)
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/zizmor -q --offline --pedantic .github

types: $(READY)
	@$(VENV)/bin/mypy

# With the build backend that is pinned, so that what is built twice is the same.
build: $(READY)
	@rm -rf dist
	@$(VENV)/bin/python -m build --no-isolation
	@$(VENV)/bin/twine check --strict dist/*
	@$(VENV)/bin/check-wheel-contents dist/*.whl

check-wheel: build
	@$(UV) venv -q --clear --seed --python $(PYTHON) .cache/wheel
	@.cache/wheel/bin/python -m pip install -qq -c $(CONSTRAINTS) dist/*.whl
	@cd .cache && wheel/bin/airflow providers list --output plain > providers.txt 2>&1 || (cat providers.txt; false)
	@grep airflow-provider-roe .cache/providers.txt || (cat .cache/providers.txt; false)
	@! grep -iE 'warn|error' .cache/providers.txt
	@cd tests/consumer && ../../$(VENV)/bin/mypy --config-file= --strict --cache-dir ../../.mypy_cache \
	  --python-executable ../../.cache/wheel/bin/python consumer.py

audit: $(READY)
	@$(VENV)/bin/pip-audit --skip-editable

public-api: $(READY)
	@$(VENV)/bin/python -m dev.public_api $(if $(RELEASE),release)

check: lint types docs test test-lines test-s3 check-wheel

# What they measure takes the place of what is in benchmarks/results and docs/performance. A quiet machine is needed.
bench: $(BENCH)
	@$(VENV)/bin/python -m benchmarks.run '1000 waits' '5000 waits' keep-alive poke imports
	@$(VENV)/bin/python -m benchmarks.report

bench-soak: $(BENCH)
	@$(VENV)/bin/python -m benchmarks.run scale soak
	@$(VENV)/bin/python -m benchmarks.report

bench-peers: $(UV)
	@$(UV) venv -q --clear --python $(PYTHON) $(PEERS)
	@$(UV) pip install -q --python $(PEERS) "$$(grep '^apache-airflow==' $(CONSTRAINTS))" -e . --group bench \
	  $(addprefix apache-airflow-providers-,airbyte databricks dbt-cloud http)
	@$(PEERS)/bin/python -m benchmarks.run peers 'poke of peers' 'imports of peers' 'short wait'
	@$(PEERS)/bin/python -m benchmarks.report

$(BENCH): $(READY)
	@$(UV) pip install -q --python $(VENV) -c $(CONSTRAINTS) --group bench
	@touch $@

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
# What Airflow 3.0.0 wants of universal-pathlib it does not say.
constraints: $(UV)
	@for line in 2.11:test 3.0:test 3:dev 3-s3:s3; do \
	  case $$line in 2.11:*) wanted='apache-airflow>=2.11,<3';; \
	    3.0:*) wanted='apache-airflow==3.0.0 universal-pathlib<0.3';; *) wanted='apache-airflow>=3';; esac; \
	  printf '%s\n' $$wanted > .cache/line.txt; \
	  $(UV) pip compile -q --upgrade --no-header --no-annotate --python-version 3.11 -c .cache/line.txt \
	    pyproject.toml --group $${line#*:} -o constraints/airflow-$${line%:*}.txt || exit 1; done

clean:
	@rm -rf .venv .cache .demo dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
