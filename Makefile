# make demo     run the example guestbook (PORT=8000; WSGI=1 for the Flask one)
# make workers  run it with four workers and SQLite (WITH=redis: two instances behind nginx, and Redis)
# make test     check and test everything
# make check    lint, formatting and types
# make bench    the benchmarks
# make messages bring the catalogues of the page's languages up to date
# make strength how well machines read the challenges (needs tesseract-ocr, and some hours)
# make clean    remove what these have made, the demo's entries included

PYTHON ?= python3
PORT ?= 8000
WSGI ?=
WITH ?= sqlite

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: demo workers test check bench messages strength check-strength clean

demo: $(VENV)/.installed-demo
	@exec $(BIN)/python examples/guestbook --port $(PORT) $(if $(WSGI),--wsgi)

workers: $(VENV)/.installed-workers
	@exec $(BIN)/python examples/workers $(WITH) --port $(PORT)

test: check
	$(BIN)/python -m pytest

check: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples/guestbook
	$(BIN)/mypy examples/observe
	$(BIN)/mypy examples/pictures
	MYPYPATH=examples/guestbook $(BIN)/mypy examples/workers
	$(BIN)/mypy tests/*.py tools/messages.py

bench: $(VENV)/.installed-bench $(VENV)/peers
	$(BIN)/python -m benchmarks

messages: $(VENV)/.installed-test
	$(BIN)/python tools/messages.py

strength: check-strength $(VENV)/peers
	$(BIN)/python -m benchmarks.strength

# Not part of 'check': the types of what reads the challenges are in packages that take a gigabyte.
check-strength: $(VENV)/.installed-test $(VENV)/.installed-strength
	$(BIN)/mypy benchmarks/strength

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -rf *.egg-info middleware/*.egg-info examples/guestbook/guestbook.db*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each extra: it is newer than pyproject.toml as long as nothing has to be installed again.
$(VENV)/.installed-%: pyproject.toml | $(VENV)/.made
	@echo 'Installing gatepost[$*] into $(VENV) ...'
	$(PIP) --editable '.[$*]'
	@touch $@

# Its package is named like that of another generator, so it gets a folder of its own.
$(VENV)/peers: | $(VENV)/.made
	$(PIP) --target $@ --no-deps django-simple-captcha

# A stamp and not the folder, since a failed start leaves the folder behind.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Gatepost needs Python 3.11 or later. Name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@touch $@
