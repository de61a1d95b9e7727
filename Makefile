# Everything runs in .venv, which is created when needed. The only requirement is Python 3.11 or newer.
# PYTHON=... chooses the Python; PYTEST_ARGS="..." is passed on to pytest, BENCH_ARGS="..." to the benchmark,
# FUZZ_ARGS="..." to the fuzzers (FUZZ_ARGS=--help says what they take). TEST_PROCESSES=... is how many of pytest's
# processes `make test` uses; most tests wait more than they compute.

VENV := .venv
BIN := $(VENV)/bin
# An installation is up to date if the content of pyproject.toml is the same, whatever its date.
CONTENT := $(shell cksum <pyproject.toml | tr -c '0-9\n' '_')
SERVER := $(VENV)/.server-$(CONTENT)
DEV := $(VENV)/.dev-$(CONTENT)

# What the page for browsers is built with; Node.js is that of the virtual environment.
UI := ci_ui/node_modules/.package-lock.json
NPM := PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix ci_ui

TEST_PROCESSES ?= 3

export PYTHON

.PHONY: help demo serve check test static docs screenshots bench overload endurance fuzz clean

help:
	@echo "make demo    submit an example project, follow its log, show the verdict"
	@echo "make serve   run the server on http://127.0.0.1:8000"
	@echo "make check   formatting, lint, types, import rules, quick tests without Docker: under a minute"
	@echo "make test    all of it with all tests; starts a private Docker engine where none answers"
	@echo "make docs    write the tables of docs/ that the code knows, such as the one of all settings"
	@echo "make screenshots  run the tests of the page for browsers, and write docs/ui/"
	@echo "make bench   measure everything against the engine; writes docs/performance.md (10 minutes)"
	@echo "make overload   measure 10,000 queued jobs, 1,000 readers of one, 100 containers at once (docs/capacity.md)"
	@echo "make endurance  run 5,000 jobs as processes and 5,000 in containers; fails if memory, files or tasks grow"
	@echo "make fuzz    send 20,000 generated requests; fails at a 5xx, a hang, growth, or a blocked event loop"
	@echo "make clean   remove what the other targets made here"

demo: $(SERVER)
	@$(BIN)/python -m examples.demo

serve: $(SERVER)
	@$(BIN)/ci serve

check: static
	@$(BIN)/pytest -q tests/unit tests/contracts -m "not docker and not slow" -n auto $(PYTEST_ARGS)

test: static
	@$(NPM) run --silent build
	@$(BIN)/python -m tests.engine $(BIN)/pytest -n $(TEST_PROCESSES) --dist worksteal $(PYTEST_ARGS)

static: $(DEV) $(UI)
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet --output-format concise .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(NPM) run --silent check

docs: $(SERVER) $(UI)
	@$(BIN)/python -m scripts.make_docs
	@$(BIN)/python -m scripts.make_ui_types

screenshots: $(DEV) $(UI)
	@$(NPM) run --silent build
	@CI_UI_SCREENSHOTS=1 $(BIN)/python -m tests.engine $(BIN)/pytest -q tests/ui $(PYTEST_ARGS)

bench: $(DEV)
	@$(BIN)/python -m tests.engine $(BIN)/python -m bench --write docs/performance.md $(BENCH_ARGS)

overload: $(SERVER)
	@$(BIN)/python -m bench.overload

endurance: $(SERVER)
	@$(BIN)/python -m bench.endurance --runtime process
	@$(BIN)/python -m bench.endurance --runtime docker

fuzz: $(DEV)
	@$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

clean:
	rm -rf $(VENV) ci_ui/node_modules ci_server/ui/dist .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(SERVER):
	@scripts/make-venv . $@

$(DEV):
	@scripts/make-venv '.[dev]' $@
	@touch $(SERVER)

$(UI): ci_ui/package-lock.json $(DEV)
	@$(NPM) ci --silent
	@touch $@
