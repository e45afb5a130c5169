# Expedite. `make demo` shows it, `make test` proves it. Python 3.11+ and make are enough; everything else is fetched.
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
RUN := $(UV) run --frozen
PACKAGES := expedite_events expedite_messaging expedite_chassis
DOMAINS := order_intake prioritizer inventory fulfillment shipping notifier control_tower

.PHONY: setup demo test check fmt up down bench chaos chaos-short mutants contracts requirements ui browser audit security clean help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.tools/bin/uv:
	$(PYTHON) -m venv .tools && .tools/bin/pip install --quiet --disable-pip-version-check uv==0.13.9

.venv/.synced: $(if $(findstring .tools,$(UV)),.tools/bin/uv) uv.lock pyproject.toml $(wildcard libs/*/pyproject.toml services/*/pyproject.toml deploy/local/pyproject.toml) tools/interpreter.py tools/newer_python.py
	@$(PYTHON) tools/newer_python.py $(UV)
	$(UV) sync --frozen --all-packages --python "$$($(PYTHON) tools/interpreter.py)"
	@touch $@

setup: .venv/.synced ui browser  ## install everything: Python packages, the built pages, a browser for tests

ui: .venv/.synced  ## build the control tower's pages
	@$(RUN) python tools/build_ui.py

browser: .venv/.synced
	@$(RUN) python tools/browser.py --ensure

demo: .venv/.synced ui  ## the whole system with live traffic; Ctrl-C ends it
	$(RUN) expedite demo

up: .venv/.synced ui  ## the whole system, no traffic
	$(RUN) expedite up

down:  ## stop a running system
	$(RUN) expedite down

check: .venv/.synced  ## format, lint, types, import rules, contracts: what needs no server
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy $(foreach p,$(PACKAGES),-p $(p)) $(foreach p,$(DOMAINS),-p $(p).domain)
	$(RUN) lint-imports
	$(RUN) python tools/house_rules.py
	$(RUN) python contracts/generate.py --check
	$(RUN) python tools/requirements.py --check

test: setup check audit  ## everything CI runs
	$(RUN) pytest

contracts: .venv/.synced  ## regenerate schemas, AsyncAPI and docs/events.md from the catalogue
	$(RUN) python contracts/generate.py

requirements: .venv/.synced  ## regenerate docs/requirements.md: which test proves which requirement
	$(RUN) python tools/requirements.py

bench: .venv/.synced  ## how fast it is: make bench NAME=saga; without a name, the list
	$(RUN) --group bench expedite bench $(NAME) $(ARGS)

chaos: .venv/.synced  ## break everything under load and check the invariants: make chaos ARGS="--only 9,13 --seed 3"
	$(RUN) python tests/chaos/run.py $(ARGS)

chaos-short: .venv/.synced  ## the rows of the fault matrix that every test run tries
	$(RUN) python tests/chaos/run.py --short $(ARGS)

audit: .venv/.synced  ## known vulnerabilities, hashes and licences of what is installed by default
	$(RUN) python tools/audit_dependencies.py

security: setup audit  ## every attack we know, the long forms too, and the audit of dependencies; ARGS="-k inventory"
	$(RUN) pytest tests/security --long $(ARGS)

mutants: .venv/.synced  ## which seeded faults the suite notices: make mutants ARGS="inventory", ARGS="--help" for more
	PYTHONPATH=tests/mutants/harness $(RUN) python -m expedite_mutants $(ARGS)

fmt: .venv/.synced  ## format and fix
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

clean:
	rm -rf .venv .tools .pytest_cache .mypy_cache .ruff_cache
