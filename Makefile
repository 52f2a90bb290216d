.PHONY: setup demo test test-long check chaos bench bench-setup

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

setup: $(VENV)/.ready

# The compiled core is built by the installation, where there is cargo.
$(VENV)/.ready: pyproject.toml constraints.txt hatch_build.py native/build.py native/Cargo.toml $(wildcard native/src/*.rs)
	@echo "Installing everything into $(VENV); the first time this takes a few minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/tollgate demo

# The tests keep what they write in build/, and only of those that failed. Those in a browser need Chromium.
BROWSER := $(firstword $(foreach name,chromium chromium-browser google-chrome,$(shell command -v $(name))))

test: setup
	mkdir -p build
ifeq ($(BROWSER),)
	@echo 'Chromium is missing, so the tests in a browser are left out: install it, for example apt-get install chromium.'
endif
	$(BIN)/python -m tests -m 'not long$(if $(BROWSER),, and not browser)'

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests .ci/after_tests.py
	$(BIN)/lint-imports

# Faults on a whole installation under load: `make chaos SEED=7 FAULTS=200`, or MINUTES=30; BROKERS=3 for a cluster.
# CHAOS_OPTIONS is passed on, for example CHAOS_OPTIONS="--only 'kill *'".
chaos: setup
	mkdir -p build
	$(BIN)/python -m tests.chaos --log build/chaos.log $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) \
		$(if $(FAULTS),--faults $(FAULTS)) $(if $(BROKERS),--brokers $(BROKERS)) $(CHAOS_OPTIONS)

# The peers that the benchmark compares with pin other versions than Tollgate does, so they live in an environment of
# their own. BENCH_OPTIONS is passed on, for example `make bench BENCH_OPTIONS='--runs 1 worker peers'`.
bench-setup: setup .venv-bench/.ready .venv-bench-sdk/.ready

.venv-bench/.ready: tests/bench/requirements.txt tests/bench/constraints.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet -r tests/bench/requirements.txt -c tests/bench/constraints.txt
	touch $@

.venv-bench-sdk/.ready: tests/bench/sdk-requirements.txt tests/bench/sdk-constraints.txt
	$(PYTHON) -m venv .venv-bench-sdk
	.venv-bench-sdk/bin/python -m pip install --quiet -r tests/bench/sdk-requirements.txt -c tests/bench/sdk-constraints.txt
	touch $@

# What `make test` leaves out because it takes long and something shorter there finds most of the same; and what it has
# shorter: ClickHouse is away for a minute while budgets are set.
test-long: setup
	$(BIN)/python -m tests -m long
	TOLLGATE_TEST_AWAY_SECONDS=60 $(BIN)/python -m pytest tests/integration/clickhouse/test_new_budgets.py
	TOLLGATE_TEST_SDK_EVENTS=1000000 $(BIN)/python -m pytest tests/integration/sdk/test_outages.py

bench: bench-setup
	$(BIN)/python -m tests.bench $(BENCH_OPTIONS)
