# make audit:    set up, then audit the bundled backbone on the bundled faces
# make test:     set up, then run the tests that need little, in minutes
# make test-all: set up, then run all tests; those of the reports need Chromium
# make check:    set up, then run the linters and the type checker
# make docs:     set up, then build the documentation into site/; a broken link is an error

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.complete
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: audit test test-all check docs benchmark setup clean

audit: $(SETUP) pango
	$(BIN)/bias-audit run audit_configs/quickstart.yaml; code=$$?; \
	case $$code in 0|1|3) ;; *) exit $$code ;; esac  # a verdict is an answer, not a failure

test: $(SETUP) pango
	$(PYTEST) -m 'not slow and not benchmark'

test-all: $(SETUP) pango
	$(PYTEST)

check: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

docs: $(SETUP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

benchmark: $(SETUP)
	$(BIN)/python -m pytest tests/benchmarks -m benchmark -s

setup: $(SETUP)

$(SETUP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Missing: Python 3.11 or newer (found $$($(PYTHON) --version)); name one with make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Missing: Python's venv module (Debian package python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(SETUP)

.PHONY: pango
pango: $(SETUP)
	@$(BIN)/python -c 'import weasyprint' 2>/dev/null || \
	  { echo "Missing: Pango, which draws the PDF (Debian packages libpango-1.0-0 libpangoft2-1.0-0)"; exit 1; }

clean:
	rm -rf $(VENV) build dist runs site
