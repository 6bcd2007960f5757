# The one entrance: `make run` starts the gateway, `make test` passes the tests, `make help` lists the rest.
# Needs Python 3.11 or newer, make and a POSIX shell. Everything else is installed into $(VENV) from the locks.

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
PIP := $(PY) -m pip --disable-pip-version-check

# The first interpreter that is new enough; `make run PYTHON=/path/to/python` takes another.
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do $$p $(NEW_ENOUGH) >/dev/null 2>&1 && echo $$p && break; done)

# Stamps: a step runs again only when a file it was made from is newer.
MADE := $(VENV)/.made
RUN := $(VENV)/.run
DEV := $(VENV)/.dev

# Where this is set every start would compile everything anew: three times as long, and the tests start many.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run speech test test-all check bench docs lock

help: ## this list
	@echo "Sealgate. Targets:"
	@sed -n 's/^\([a-z-]*\):.*## /  \1	/p' Makefile

run: $(RUN) ## start the gateway on 127.0.0.1:3000; its data goes to ./.sealgate
	@$(BIN)/sealgate serve

speech: $(RUN) ## the sandbox understands speech from now on: PocketSphinx, some 30 MB
	$(PIP) install --require-hashes --only-binary :all: -r requirements/speech.lock

# A third of the time tests wait for processes, sockets and timers: three workers keep two cores busy.
test: $(DEV) ## the whole suite but the long loops, some five minutes on two cores
	$(PY) -m pytest -n 3 --dist worksteal -m "not long"

test-all: $(DEV) ## the long loops: kill and restart, exhaustive cuts
	$(PY) -m pytest -n 3 --dist worksteal -m long

check: $(DEV) ## format, lint, types, the import arrow, generated docs
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(BIN)/lint-imports --no-cache --no-logo
	$(PY) -m sealgate.cli.docs --check

bench: $(DEV) ## the benchmarks, on loopback
	$(PY) -m bench

docs: $(DEV) ## write the reference pages again from the declarations in the code
	$(PY) -m sealgate.cli.docs

# A release younger than a week is not taken, and a pin older than that stays. To move one package, delete its block from
# dev.lock first; to move everything, delete the file. A security fix that cannot wait: run the lines below by hand with
# `--exclude-newer-package NAME=DATE`. The three locks agree on every version.
LOCK := $(PY) -m uv pip compile --quiet --universal --python-version 3.11 --exclude-newer "7 days" \
	--generate-hashes --no-emit-index-url --no-header

lock: $(DEV) ## resolve requirements/*.lock again from pyproject.toml
	$(LOCK) pyproject.toml requirements/build.in --extra postgres --extra aws --extra gcp --extra redis --extra import --group test --group check -o requirements/dev.lock
	$(LOCK) pyproject.toml --extra postgres --extra aws --extra gcp --extra redis --extra import -c requirements/dev.lock -o requirements/run.lock
	$(LOCK) requirements/speech.in -c requirements/run.lock -c requirements/dev.lock -o requirements/speech.lock
	$(LOCK) requirements/build.in -c requirements/dev.lock -o requirements/build.lock

$(MADE):
	@test -n "$(PYTHON)" && $(PYTHON) $(NEW_ENOUGH) || { \
		echo "Sealgate needs Python 3.11 or newer, and found none. Name one with: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Making the virtual environment $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV) || { \
		echo "The virtual environment $(VENV) could not be made; the lines above say why."; \
		echo "If Python's venv is missing (Debian, Ubuntu): apt install python3-venv."; \
		echo "If this folder cannot be written to: make $(MAKECMDGOALS) VENV=/a/folder/of/yours"; exit 1; }
	@touch $@

$(RUN): $(MADE) requirements/run.lock requirements/build.lock pyproject.toml
	@echo "Installing what the gateway runs on, every file checked against its hash"
	$(PIP) install --require-hashes --only-binary :all: -r requirements/run.lock -r requirements/build.lock
	$(PIP) install --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(DEV): $(RUN) requirements/dev.lock
	@echo "Installing what the tests and checks run on, every file checked against its hash"
	$(PIP) install --no-compile --require-hashes --only-binary :all: -r requirements/dev.lock
	@touch $@
