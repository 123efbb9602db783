# Two commands matter: `make run` and `make test`. `make help` lists the rest.

PYTHON ?= python3
SEED ?= 17
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --no-input --require-hashes
# uvloop and the rest of what is only measured stays out of what the tests run on.
BENCH_VENV := .venv-bench
BENCH := $(BENCH_VENV)/bin/python
ONLY ?=
NPM := $(shell command -v npm 2>/dev/null)
# Which interpreter made the environment: another PYTHON= makes another one.
MADE := $(VENV)/.made-by-$(subst /,_,$(PYTHON))
COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet

MESSAGES := makemessages --locale de --locale zh_Hans --no-obsolete --no-wrap --add-location file

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help install run check test examples access e2e network e2e-long adopt faults soak variants matrix bench bench-compare audit messages lock clean dev js bench-env

help: ## List the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-8s %s\n' "$$name" "$$text"; done
	@echo
	@echo '  For run: HOST PORT (127.0.0.1:8000) DATA_DIR (var) REDIS_URL DEMO_PASSWORD; for all: PYTHON (python3)'
	@echo '  For faults: SEED (17), which decides what is sent and what breaks'
	@echo '  For bench, bench-compare: ONLY (all), names of scenarios'
	@echo '  Example: make run PORT=8001 DATA_DIR=var2'

install: $(VENV)/.run ## Make .venv and install what runs

run: $(VENV)/.run ## Start Redis, web and worker; Ctrl-C stops them
	@exec $(PY) -m project.run

check: dev js ## Format, lint, types, known traps; changes nothing
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m bandit --quiet --recursive progress project tasks
ifneq ($(NPM),)
	npm run --silent types
endif

test: dev js ## All tests but those of the targets below
	$(PY) -m pytest --numprocesses 2 --dist loadfile tests/unit tests/integration
ifneq ($(NPM),)
	npm test --silent
endif

examples: dev ## The shipped jobs, their files and their deaths
	$(PY) -m pytest --numprocesses 2 --dist loadfile tests/examples

access: dev ## Who may what, what gets out, what is kept, streams
	$(PY) -m pytest --numprocesses 2 --dist loadfile tests/access tests/history tests/streams

e2e: dev ## The pages in a real browser
	$(PY) -m pytest --numprocesses 2 --dist loadfile tests/e2e

network: dev ## Pages while connections break, and under load
	$(PY) -m pytest tests/network

e2e-long: dev ## The same on a train ride of five minutes
	$(PY) -m pytest tests/e2e_long

adopt: dev ## Enter a foreign site: wheel, fresh environment, real servers
	$(PY) -m pytest tests/adopt -p no:randomly

faults: dev ## What is promised while things break; 8 minutes
	$(PY) -m pytest --numprocesses 2 --dist loadfile tests/faults
	$(PY) -m tests.faults --seed $(SEED)

soak: dev ## The same for hours; writes docs/promises.md
	$(PY) -m tests.faults --soak --write

variants: dev ## Every pool, layer, server, Python, Django and redis-py once
	$(PY) -m tests.variants

matrix: dev ## All of these with each other; writes docs/supported.md
	$(PY) -m tests.variants --all

bench: bench-env ## Measure against all peers; 1.5 hours; writes docs/benchmarks.md
ifeq ($(ONLY),)
	@missed=0; for part in bench.startup bench bench.task_cost; do \
		$(BENCH) -m $$part || missed=1; done; exit $$missed
else
	$(BENCH) -m bench $(ONLY)
endif

bench-compare: bench-env ## The same, held against the committed results; writes nothing
	$(BENCH) -m bench --compare $(ONLY)

audit: dev ## Ask for known faults of the locked packages (needs the network)
	$(PY) -m pip_audit --strict --disable-pip --require-hashes --requirement requirements.txt

messages: dev ## Renew the translations from the sources (needs GNU gettext)
	@command -v xgettext >/dev/null || { echo "make: messages needs the program xgettext: apt install gettext" >&2; exit 1; }
	@cd progress && ../$(VENV)/bin/django-admin $(MESSAGES)
	@cd progress && ../$(VENV)/bin/django-admin $(MESSAGES) --domain djangojs
	@$(PY) manage.py $(MESSAGES) $(foreach folder,progress tests bench var node_modules $(VENV) $(BENCH_VENV),--ignore $(folder))
	@$(PY) manage.py compilemessages --ignore $(VENV) --ignore $(BENCH_VENV) --ignore node_modules

lock: ## Renew the requirements files from pyproject.toml (needs uv)
	@command -v uv >/dev/null || { echo "make: lock needs the program uv: pip install uv" >&2; exit 1; }
	$(COMPILE) --group pyproject.toml:run --output-file requirements.txt
	$(COMPILE) --group pyproject.toml:dev --constraint requirements.txt --output-file requirements-dev.txt
	$(COMPILE) --group pyproject.toml:bench --constraint requirements-dev.txt --output-file requirements-bench.txt

clean: ## Remove everything that was made here, but no data (var/)
	rm -rf $(VENV) $(BENCH_VENV) node_modules build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- How the environments are made: once, and again when a lock changes ---------------------------------

dev: $(VENV)/.dev

$(MADE):
	@command -v $(PYTHON) >/dev/null || { \
		echo "make: there is no '$(PYTHON)'. Install Python 3.11 or later, or name another: PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make: expected Python 3.11 or later, got $$($(PYTHON) --version 2>&1). Name another: PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		echo "make: $(PYTHON) cannot make virtual environments. Install the package python$$version-venv" >&2; \
		echo "make: (Debian, Ubuntu: apt install python$$version-venv, or python3-venv)." >&2; exit 1; }
	@if [ "$$($(PY) --version 2>/dev/null)" != "$$($(PYTHON) --version)" ]; then \
		echo "Making $(VENV) with $$($(PYTHON) --version) ..."; $(PYTHON) -m venv --clear $(VENV); fi
	@rm -f $(VENV)/.made-by-* && touch $@

$(VENV)/.run: $(MADE) requirements.txt
	@echo "Installing what runs ..."
	@$(PIP) --requirement requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	@echo "Installing what checks and tests ..."
	@$(PIP) --requirement requirements-dev.txt
	@touch $@

# An environment of its own, and the one peer that is no Python: nginx with nchan, which only root may install.
bench-env:
	@$(MAKE) --no-print-directory VENV=$(BENCH_VENV) $(BENCH_VENV)/.bench
	@$(BENCH) -c 'import sys; from bench.peers import nchan; sys.exit(nchan.found() is None)' || { \
		if [ "$$(id -u)" = 0 ]; then root=; else root='sudo -n'; fi; \
		echo "Installing nginx with nchan ..."; \
		$$root apt-get install -y -qq --no-install-recommends nginx libnginx-mod-nchan >/dev/null 2>&1 || \
		echo "make: nginx with nchan is not there and could not be installed, so it is LEFT OUT" \
			"(Debian, Ubuntu: apt install nginx libnginx-mod-nchan)." >&2; }

$(VENV)/.bench: $(MADE) requirements-bench.txt
	@echo "Installing what measures ..."
	@$(PIP) --requirement requirements-bench.txt
	@touch $@

ifneq ($(NPM),)
js: node_modules/.installed
else ifeq ($(CI),true)
js:
	@echo "make: CI is set, so everything must be checked, but npm is missing. Install Node.js 20 or later." >&2; exit 1
else
js:
	@echo "!!! npm is missing: the checks and tests of the JavaScript are LEFT OUT !!!" >&2
endif

node_modules/.installed: package.json package-lock.json
	@npm ci --no-audit --no-fund --loglevel error
	@touch $@
