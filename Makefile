# make audit:    set up what an audit needs, then audit the bundled backbone on the bundled faces
# make test:     set up the rest too, then run the tests that need little, in minutes
# make test-all: the same, all tests; those of the reports need Chromium
# make check:    the same, the linters and the type checker
# make docs:     the same, build the documentation into site/; a broken link is an error
# Packages are installed by uv where it runs, else by pip; make UV= audit takes pip in any case.

PYTHON ?= python3
UV := $(shell uv --version >/dev/null 2>&1 && echo uv)
VENV := .venv
BIN := $(VENV)/bin
AUDIT := $(VENV)/.audit
DEV := $(VENV)/.dev
MAKE_VENV := $(if $(UV),$(UV) venv --quiet --allow-existing --python $(PYTHON),$(PYTHON) -m venv)
PIP := $(if $(UV),$(UV) pip install --python $(BIN)/python,$(BIN)/python -m pip install --disable-pip-version-check)
INSTALL := $(PIP) --quiet --constraint constraints.txt --editable
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: audit test test-all check docs benchmark setup pango clean

audit: $(AUDIT) pango
	$(BIN)/bias-audit run audit_configs/quickstart.yaml; code=$$?; \
	case $$code in 0|1|3) ;; *) exit $$code ;; esac  # a verdict is an answer, not a failure

test: $(DEV) pango
	$(PYTEST) -m 'not slow and not benchmark'

test-all: $(DEV) pango
	$(PYTEST)

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

docs: $(DEV)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

benchmark: $(DEV)
	$(BIN)/python -m pytest tests/benchmarks -m benchmark -s

setup: $(DEV)

$(AUDIT): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Missing: Python 3.11 or newer (found $$($(PYTHON) --version)); name one with make PYTHON=python3.12"; exit 1; }
	@test -n '$(UV)' || $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Missing: uv, or Python's venv module (Debian package python3-venv)"; exit 1; }
	$(MAKE_VENV) $(VENV)
	$(INSTALL) .
	@touch $@

$(DEV): $(AUDIT)
	$(INSTALL) '.[dev]'
	@touch $@

pango: $(AUDIT)
	@$(BIN)/python -c 'import weasyprint' 2>/dev/null || \
	  { echo "Missing: Pango, which draws the PDF (Debian packages libpango-1.0-0 libpangoft2-1.0-0)"; exit 1; }

clean:
	rm -rf $(VENV) build dist runs site
