# make demo and make test do all of their own set-up.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
PROFILE ?= local
BIN := .venv/bin
export MLOPS_PROFILE := $(PROFILE)

.PHONY: install demo test bench lint format up down status deploy lock clean

install: .venv/.installed

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else f"Python 3.11 to 3.13 is needed, {sys.executable} is {sys.version.split()[0]}; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -o '^uv==[0-9.]*' requirements.lock)"
	$(BIN)/uv pip sync --quiet --require-hashes --compile-bytecode --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $@

demo: install
	@$(BIN)/python -m deployments.demo

up: install
	@$(BIN)/python -m deployments.local up

down:
	@test ! -x $(BIN)/python || $(BIN)/python -m deployments.local down

status: install
	@$(BIN)/python -m deployments.local status

deploy: install
	@$(BIN)/python -m deployments.apply

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: install
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium >/dev/null; }
	$(BIN)/pytest

# Makes the compared servers' environments under .bench/ first; then it takes under 10 minutes. Shorter, or fewer
# servers: make bench BENCH="--seconds 2 --only ours constant azureml". Writes docs/benchmarks.md.
bench: install
	@command -v wrk >/dev/null || { echo "make bench needs wrk: apt-get install wrk (or brew install wrk)" >&2; exit 1; }
	@$(BIN)/python -m benchmarks.scoring $(BENCH)

# Hashes and no addresses: the lock installs from whatever index the machine is set to.
lock:
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url \
		--extra azure --extra dev pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url \
		--python-version 3.11 --constraint requirements.lock infra/docker/scoring.in --output-file infra/docker/scoring.txt
	for name in $(basename $(notdir $(wildcard benchmarks/requirements/*.in))); do $(BIN)/uv pip compile --quiet \
		--no-header --no-annotate --no-emit-index-url --python-version 3.11 \
		benchmarks/requirements/$$name.in --output-file benchmarks/requirements/$$name.txt || exit; done

clean: down
	rm -rf .local .venv .bench
