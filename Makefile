# Two commands for a fresh machine: `make train` and `make test`. Each builds .venv if it is missing.

PYTHON ?= python3
ENV ?= PongNoFrameskip-v4
STEPS ?= 6M
LEARNERS ?=
OUT ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Tests start hundreds of processes: each would compile the package anew.
test test-slow fuzz test-gpu test-peers test-environments test-browser test-extras: export PYTHONDONTWRITEBYTECODE :=

.PHONY: install train test test-slow fuzz test-gpu test-peers test-environments test-backends test-browser test-extras check format bench clean

install: $(VENV)/.installed

train: $(VENV)/.installed
	$(BIN)/gala train gala-a2c --env $(ENV) --steps $(STEPS) \
		$(if $(LEARNERS),--learners $(LEARNERS)) $(if $(OUT),--out $(OUT))

# Two at a time: most tests wait for processes of theirs more than they compute.
test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadgroup

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m 'slow and not backends'

fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow tests/fuzz

test-gpu: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m gpu

test-peers: $(VENV)/.installed-peers
	$(BIN)/python -m pytest -m peers

test-environments: $(VENV)/.installed-environments
	$(BIN)/python -m pytest -m environments

test-backends: $(VENV)/.installed-backends
	$(BIN)/python -m pytest -m 'backends and not slow'

# Needs a Chromium: apt-get install chromium, or GALA_CHROMIUM=/path/to/chromium.
test-browser: $(VENV)/.installed-browser
	$(BIN)/python -m pytest -m browser

test-extras: $(VENV)/.installed-extras
	$(BIN)/python -m pytest -m 'extras and not slow'

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed
	$(BIN)/gala bench throughput

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "gala-rl needs Python 3.11 or newer; $(PYTHON) is older: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-peers: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e '.[dev,peers]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-dev

$(VENV)/.installed-environments: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e '.[dev,environments]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-dev

$(VENV)/.installed-backends: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e '.[dev,envpool,jax]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-dev

$(VENV)/.installed-browser: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e '.[dev,browser]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-dev

# Trackio needs a pillow that the constraints exclude.
$(VENV)/.installed-extras: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e '.[dev,notebook,wandb,mlflow,sb3]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[trackio]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-dev

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
