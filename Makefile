# make demo and make test do all of their own set-up.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin
# Without PROFILE the setting holds: a variable would beat mlops.toml.
ifdef PROFILE
export MLOPS_PROFILE := $(PROFILE)
endif

AZURITE := .tools/node_modules/.bin/azurite-blob
MODELS := .tools/azure-models/.installed

.PHONY: install tools demo demo-azure test faults bench lint format up down status deploy lock clean

install: .venv/.installed

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else f"Python 3.11 to 3.13 is needed, {sys.executable} is {sys.version.split()[0]}; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -o '^uv==[0-9.]*' requirements.lock)"
	$(BIN)/uv pip sync --quiet --require-hashes --compile-bytecode --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $@

demo: install
	@$(BIN)/python -m deployments.demo --drift

# The same demo with the profile azure: a twin of Azure and Azurite stand for the subscription (docs/azure-twin.md).
demo-azure: install $(AZURITE)
	@$(BIN)/python -m infra.azure_twin.rehearsal run $(BIN)/python -m deployments.demo iris --drift
	@$(BIN)/python -m infra.azure_twin.rehearsal resources

up: install
	@$(BIN)/python -m deployments.local up

down:
	@test ! -x $(BIN)/python || $(BIN)/python -m deployments.local down
	@test ! -d .local/azure || $(BIN)/python -m infra.azure_twin.rehearsal down

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

# For tests alone: Azurite, Microsoft's emulator of Azure Storage, and the types of Azure's resources.
tools: $(AZURITE) $(MODELS)

$(AZURITE):
	@command -v npm >/dev/null || { echo "Azurite needs npm: install Node.js 20 or newer (apt-get install npm)" >&2; exit 1; }
	npm install --prefix .tools --no-package-lock --no-save --no-audit --no-fund --silent azurite@3.37.0

$(MODELS): tests/infra/bicep/models.txt | install
	$(BIN)/uv pip install --quiet --no-deps --require-hashes --target $(@D) --python $(BIN)/python --requirement $<
	@touch $@

test: install tools
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium >/dev/null; }
	@command -v buildah >/dev/null && command -v debootstrap >/dev/null || test "$$(id -u)" != 0 \
		|| ! command -v apt-get >/dev/null || { apt-get update -qq && apt-get install -y -qq buildah debootstrap >/dev/null; }
	$(BIN)/pytest -m "not alone" --numprocesses 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/pytest -m alone

# Every fault of Azure in every flow, on the twin: takes about half an hour and writes docs/azure-faults.md; one flow's
# alone: make faults FAULTS=provision (or training, release).
FAULTS ?= all
faults: install tools
	FAULTS=$(FAULTS) $(BIN)/pytest tests/e2e/test_faults_azure.py

# Makes the compared servers' environments under .bench/ first; then it takes under 10 minutes. Shorter, or fewer
# servers: make bench BENCH="--seconds 2 --only ours constant azureml". Writes docs/benchmarks.md.
# The retraining loop on simulated streams and flights takes about as long; shorter: BENCH_REPLAY="--seeds 1".
# The verdict on simulated windows, likewise; shorter: BENCH_DRIFT="--share .2 --no-cost".
# Last come releases, kills, rollbacks and an outage under 200 requests a second, on a stack of its own.
bench: install
	@command -v wrk >/dev/null || { echo "make bench needs wrk: apt-get install wrk (or brew install wrk)" >&2; exit 1; }
	@$(BIN)/python -m benchmarks.scoring $(BENCH)
	@$(BIN)/python -m benchmarks.replay $(BENCH_REPLAY)
	@$(BIN)/python -m benchmarks.drift $(BENCH_DRIFT)
	@$(BIN)/python -m benchmarks.releases

# Hashes and no addresses: the lock installs from whatever index the machine is set to.
lock:
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url \
		--extra azure --extra dev pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url \
		--python-version 3.11 --constraint requirements.lock infra/docker/scoring.in --output-file infra/docker/scoring.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url \
		--python-version 3.11 --constraint requirements.lock infra/docker/worker.in --output-file infra/docker/worker.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --extra azure \
		--python-version 3.11 --constraint requirements.lock pyproject.toml infra/docker/flows.in \
		--output-file infra/docker/flows.txt
	$(BIN)/uv pip compile --quiet --no-deps --generate-hashes --no-header --no-emit-index-url --prerelease allow \
		--python-version 3.11 tests/infra/bicep/models.in --output-file tests/infra/bicep/models.txt
	for name in $(basename $(notdir $(wildcard benchmarks/requirements/*.in))); do $(BIN)/uv pip compile --quiet \
		--no-header --no-annotate --no-emit-index-url --python-version 3.11 \
		benchmarks/requirements/$$name.in --output-file benchmarks/requirements/$$name.txt || exit; done

clean: down
	rm -rf .local .venv .bench .tools
