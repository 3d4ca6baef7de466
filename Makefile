# The two commands: `make up` starts everything, `make test` proves it. Both make the set-up first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup up down test test-containers faults soak lint types docs clean

setup: $(VENV)/.ready native/_native.abi3.so

# Hashes are checked for every package; the project itself is linked in place.
$(VENV)/.ready: requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Sluice needs Python 3.11 or later: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# What is in C, with the compiler that is among the packages.
native/_native.abi3.so: native/*.c native/*.h native/build.py | $(VENV)/.ready
	$(BIN)/python native/build.py

up: setup
	@$(BIN)/sluice up

down: setup
	@$(BIN)/sluice down

# Two processes, each with servers of its own: most tests wait for something.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The same tests with the official images of Kafka and ClickHouse instead of the embedded servers. Needs Docker.
test-containers: setup
	$(BIN)/python -m pytest --containers

# The storms of tests/faults with more faults; the seed is printed, and SEED=... plays one again.
faults: setup
	FAULTS=30 $(BIN)/python -m pytest -s tests/faults/test_streams.py

soak: setup
	FAULTS=300 $(BIN)/python -m pytest -s tests/faults/test_streams.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

# The pages that are made from the code: settings and metrics.
docs: setup
	$(BIN)/python -m docs.reference

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis native/*.so
