# Two commands matter: `make demo` and `make test`. Each does what set-up is missing first.
# `make` alone lists all of them.

VENV := .venv/bin
# One process a core, a file of tests in one of them; TEST_PROCESSES=1 where memory is short (3 GB each).
# A test that hangs fails at its --timeout, in seconds, and says where it was.
TEST_PROCESSES ?= 2
PYTEST := OMP_NUM_THREADS=1 $(VENV)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile
# A Python 3 that can read tools/setup_env.py, which then looks for one that the project supports.
STARTERS := $(PYTHON) python3 python3.11 python3.12 python3.10 $(VENV)/python

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all soak docs lint format clean

help:  ## list these commands
	@echo "xlearner_mm: usage: make COMMAND"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## install everything into .venv; safe to repeat and to interrupt (PYTHON=python3.11 chooses)
	@for starter in $(STARTERS); do \
	  if "$$starter" -c 'import sys; sys.exit(sys.version_info < (3, 6))' >/dev/null 2>&1; then \
	    exec "$$starter" tools/setup_env.py $(if $(PYTHON),--python "$(PYTHON)"); \
	  fi; \
	done; \
	echo "error: no Python 3 runs on this machine" >&2; \
	echo "  fix: install Python 3.11 with its development files and repeat make setup" >&2; \
	exit 1

demo: setup  ## the whole job on small data: sources, expansion, squeeze, transfer, report
	@$(VENV)/python tools/demo.py

test: lint  ## linters, types and every test that is not slow
	$(PYTEST) -m "not slow" --durations=10

test-all: lint  ## the same with the slow tests
	$(PYTEST) --durations=20 --timeout 1800

soak: setup  ## kill trainings of both stages 50 times each, resume them, and print how many survive (KILLS=20 for fewer)
	OMP_NUM_THREADS=1 $(VENV)/python -m tests.soak --kills $(or $(KILLS),50)

docs: setup  ## the documentation as a site: site/index.html
	NO_MKDOCS_2_WARNING=1 $(VENV)/mkdocs build

lint: setup  ## ruff, mypy and import-linter, changing nothing
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/mypy
	$(VENV)/lint-imports

format: setup  ## let ruff rewrite what it can
	$(VENV)/ruff check --fix
	$(VENV)/ruff format

clean:  ## delete caches and build outputs; keeps .venv, data and work_dirs
	rm -rf build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find xlearner_mm configs tools tests -name __pycache__ -type d -prune -exec rm -rf {} +
