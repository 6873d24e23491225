# LEP Studio: everything a fresh machine needs is Python 3.11+ and make.
#   make run    the app on http://127.0.0.1:7860        make test   the whole test suite
#   make demo   the main job without a browser          make check  format, lint, types
#   make bench  speed and memory beside those of peers  make test-slow, test-faults, test-gpu  long, hostile and CUDA tests
#   make study  whether the method works, docs/study.md
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HOST ?= 127.0.0.1
PORT ?= 7860
WORKSPACE ?= workspace
# Processes that share the tests of `make test`, a file each; each has one thread for arithmetic.
WORKERS ?= 2
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: install install-dev browser run demo test test-slow test-faults test-gpu bench study check audit format clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed. Call make PYTHON=/path/to/python3.11." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -r requirements.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

install-dev: $(VENV)/.installed-dev

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(PIP) install --quiet -r requirements-dev.txt
	@touch $@

# The browser test drives a real Chromium: Playwright's own where it can be downloaded, else the distribution's.
browser: install-dev
	$(BIN)/python tests/e2e/install_browser.py

run: install
	HOST=$(HOST) PORT=$(PORT) WORKSPACE=$(WORKSPACE) $(BIN)/python app.py

demo: install
	$(BIN)/python -m lep_core demo --output $(WORKSPACE)/demo-cli --overwrite

test: install-dev browser
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow and not gpu and not faults"

test-slow: install-dev browser
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m "slow"

test-faults: install-dev browser
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m "faults"

test-gpu: install-dev
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m "gpu"

# Every benchmark at its default size, minutes each; `docs/benchmarks.md` has the larger ones.
BENCHMARKS := $(filter-out __init__ side_by_side,$(notdir $(basename $(wildcard benchmarks/*.py))))
bench: install-dev
	@for name in $(BENCHMARKS); do echo "## $$name"; HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.$$name || exit 1; echo; done

# Hours of CPU time, said in `docs/study.md`; needs the data folder described there (DATA=...).
STUDIES := fertility effect settings
study: install-dev
	@for name in $(STUDIES); do HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m studies.$$name $(if $(DATA),--data $(DATA)) || exit 1; done
	$(BIN)/python -m studies.report

check: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ty check lep_core ui app.py benchmarks studies
	$(MAKE) audit

# Known vulnerabilities of the pinned packages, where the advisory data base can be reached.
audit: install-dev
	$(BIN)/python tests/audit.py

format: install-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
