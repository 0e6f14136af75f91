# Every target sets up .venv where that is needed, and is safe to repeat.
#   make demo        the whole chain on the measured FePt particle; ends with the path of demo/report.html
#   make test        the tests but the slow ones          make test-slow   the slow ones
#   make lint        ruff, mypy, import contracts         make docs        the documentation, into site/
#   make bench       the benchmarks                       make clean       removes all that these made
# PYTHON=python3.12 chooses the interpreter, PWX=no keeps Quantum ESPRESSO out, ARGS="-k order" goes to pytest.

VENV := .venv
BIN := $(VENV)/bin
PWX ?= yes
ARGS ?=
# a file of tests stays in one process, whose fixtures it shares
PARALLEL := -n auto --maxprocesses 8 --dist loadfile
# the first Python of at least 3.11; uv finds or fetches one by itself
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
HAS_UV := $(shell command -v uv 2>/dev/null)
IS_ROOT := $(shell command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && echo yes)
APT := export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && apt-get install -y -qq --no-install-recommends

.PHONY: help demo test test-slow lint docs bench clean pwx
.DELETE_ON_ERROR:

help:
	@sed -n '2,6s/^# *//p' Makefile

demo: $(VENV)/.installed-core pwx
	$(BIN)/aet2dft demo demo $(if $(filter no,$(PWX)),--no-pwx)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m slow --timeout 1800 $(PARALLEL) $(ARGS)

bench: $(VENV)/.installed-test
	$(BIN)/python -m pytest tests/benchmarks -m "" --benchmark-enable --benchmark-only $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "$(CURDIR)/site/index.html"

clean:
	rm -rf $(VENV) demo site dist .benchmarks .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# .installed-core is the package alone, .installed-test the package with its extra "test"
$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	@echo "installing aet2dft$(if $(filter-out core,$*),[$*]) into $(VENV)"
	@if [ -n "$(HAS_UV)" ]; then uv pip install --quiet --python $(BIN)/python -e ".$(if $(filter-out core,$*),[$*])"; \
	else $(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".$(if $(filter-out core,$*),[$*])"; fi
	@touch $@

$(BIN)/python:
	@rm -rf $(VENV)
	@if [ -n "$(HAS_UV)" ]; then uv venv --quiet --python "$(or $(PYTHON),>=3.11)" $(VENV); exit; fi; \
	if [ -z "$(PYTHON)" ]; then \
		echo "no Python of at least 3.11: install one, or name it, as in make PYTHON=/path/to/python3.12" >&2; exit 1; fi; \
	if ! "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null; then \
		if [ -z "$(IS_ROOT)" ]; then \
			echo "$(PYTHON) cannot make environments: install Debian's python3-venv, or uv" >&2; exit 1; fi; \
		echo "installing Debian's python3-venv"; $(APT) python3-venv >/dev/null; fi; \
	"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

pwx:
	@if [ "$(PWX)" = no ] || command -v pw.x >/dev/null; then exit 0; fi; \
	if [ -n "$(IS_ROOT)" ]; then \
		echo "installing Debian's quantum-espresso (PWX=no forbids it)"; \
		{ $(APT) quantum-espresso >/dev/null; } || echo "that failed: the outputs that ship with the package are taken"; \
	else echo "pw.x is not here (apt install quantum-espresso): the outputs that ship with the package are taken"; fi
