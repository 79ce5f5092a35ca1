# `make` lists the targets. Everything lives in this folder: .venv, var, db.sqlite3.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ONCE ?=
# Four at once: most tests wait for half of their time. Those in a browser share two sites, and so two processes;
# the tests of the demo share one, since a folder has one demo at a time.
AT_ONCE ?= -n 4 --dist loadgroup
QUICK ?=

.DEFAULT_GOAL := help
.PHONY: help demo run test test-sqlite test-postgres lint types check bench screenshots clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Liner Notes needs Python 3.11 or later; try: make PYTHON=python3.12 ...")'
	@echo "Creating the virtual environment $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python requirements.txt requirements-demo.txt constraints.txt
	@echo "Installing requirements ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-demo.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.demo requirements-dev.txt
	@echo "Installing test requirements ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: $(VENV)/.demo ## Set everything up, import and fetch 500 simulated tracks, open the admin (ONCE=1: then end)
	@$(BIN)/python -m config.local demo $(if $(filter-out 0,$(ONCE)),--once)

run: $(VENV)/.demo ## Run the site with the settings in .env
	@$(BIN)/python -m config.local run

test: test-sqlite test-postgres ## Run the whole suite on SQLite, and what asks the database on PostgreSQL

test-sqlite: $(VENV)/.dev ## Run the whole suite on SQLite
	$(BIN)/python -m pytest $(AT_ONCE)

test-postgres: $(VENV)/.dev ## Run what asks the database again, on an embedded PostgreSQL
	$(BIN)/python -m catalog.tests.with_postgres $(BIN)/python -m pytest $(AT_ONCE) catalog

lint: $(VENV)/.dev ## Check style with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## Check types with mypy
	SECRET_KEY=types SOUNDCHARTS_APP_ID=a SOUNDCHARTS_API_KEY=b $(BIN)/mypy

check: $(VENV)/.dev ## Check migrations, and the settings as in production
	SECRET_KEY=tests SOUNDCHARTS_APP_ID=a SOUNDCHARTS_API_KEY=b $(BIN)/python manage.py makemigrations --check --dry-run
	SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))') ALLOWED_HOSTS=example.com \
		SOUNDCHARTS_APP_ID=a SOUNDCHARTS_API_KEY=b $(BIN)/python manage.py check --deploy --fail-level WARNING

bench: $(VENV)/.dev ## Measure speed and memory; fail when a bound is missed (about 10 minutes; QUICK=1: 3)
	$(BIN)/python -m benchmarks $(if $(filter-out 0,$(QUICK)),--quick)

screenshots: $(VENV)/.dev ## Make the pictures of the README anew (needs Chromium)
	$(BIN)/python -m config.screenshots

clean: ## Remove the virtual environment and what the processes wrote
	rm -rf $(VENV) var .mypy_cache .ruff_cache .pytest_cache .hypothesis
