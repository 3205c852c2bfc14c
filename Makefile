# One command each: `make demo` shows the program, `make test` tests it; both set up what they need
# on a machine with python3 (with venv), g++ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# What the compiled core and the page are made of; Python files need no new installation.
SOURCES := pyproject.toml CMakeLists.txt $(wildcard cmake/* native/*/* native/*/*/* page/* page/src/* page/src/*/*)
ARGS ?=
EXTRAS := dev,oracle

.PHONY: demo test check lint types floors native-test sanitize clean-clone chaos docs wheel clean

demo: $(INSTALLED)
	$(BIN)/marey demo $(ARGS)

test: $(INSTALLED) native-test
	$(BIN)/python -m pytest -n auto --maxprocesses 4 $(ARGS)

# What continuous integration runs. The tests run once, in the clean clone.
check: $(INSTALLED) lint types floors sanitize clean-clone

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

floors: $(INSTALLED)
	$(BIN)/lint-imports

native-test: $(INSTALLED)
	PATH="$(CURDIR)/$(BIN):$$PATH" native/tests/run

sanitize: $(INSTALLED)
	PATH="$(CURDIR)/$(BIN):$$PATH" native/tests/run thread address

# Minutes of random faults to whole sessions; `make test` has seconds of them.
chaos: $(INSTALLED)
	MAREY_CHAOS_SECONDS=60 $(BIN)/python -m pytest -s tests/faults $(ARGS)

# The README's two commands as a newcomer meets them: a fresh clone, a fresh environment.
clean-clone:
	tools/clean-clone

bench-%: $(INSTALLED)
	$(BIN)/pip install -q -e '.[bench]'
	$(BIN)/python bench/$*.py $(ARGS)

docs: $(INSTALLED)
	$(BIN)/pip install -q -e '.[docs]'
	$(BIN)/mkdocs build --strict

wheel:
	$(PYTHON) -m venv $(VENV)-build
	$(VENV)-build/bin/pip install -q build
	$(VENV)-build/bin/python -m build --wheel

$(INSTALLED): $(SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -e '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf build dist $(VENV) $(VENV)-build site
