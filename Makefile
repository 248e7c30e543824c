# Everything a developer or a newcomer runs. Needs python3.11+, pip, make and git; nothing else has to be installed
# (tests of PostgreSQL, Spark and pages are skipped where it, Java or Chromium is missing and may not be installed).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ROUNDS ?= 10
SEED ?= $(shell date +%s)
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test faults check format bench clean

help: ## Show this help
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tanzhang needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $@

setup: $(READY) ## Make the virtual environment with the exact versions of constraints.txt

demo: $(READY) ## Settle a small simulated city day and show it from all sides
	$(BIN)/tanzhang demo
	@echo
	@echo 'The command is $(BIN)/tanzhang; ". $(BIN)/activate" puts it on your PATH.'

test: $(READY) ## Run all tests
	@scripts/system_packages.sh
	$(BIN)/pytest -n auto --dist worksteal

faults: $(READY) ## Kill, cut, fill and set clocks at random for longer: make faults ROUNDS=20 SEED=7
	@scripts/system_packages.sh
	TANZHANG_FAULT_ROUNDS=$(ROUNDS) TANZHANG_FAULT_SEED=$(SEED) $(BIN)/pytest -o log_cli=true --timeout 7200 \
		tests/faults/test_service.py tests/faults/test_lost_database.py tests/faults/test_full_disk.py \
		tests/faults/test_clocks.py

check: $(READY) ## Format, lint, types, catalogue and the health of the repository
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/tanzhang catalogue check
	$(BIN)/pytest tests/health -p no:cacheprovider

format: $(READY) ## Write the one format and the safe fixes of the linter
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## Measure speed and memory on this machine (minutes)
	$(BIN)/python -m benchmarks

clean: ## Remove what make made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
