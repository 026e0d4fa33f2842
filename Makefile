# make demo: transfer behaviors between real clips, draw a person performing them, write videos and a report
# make test: the whole test suite
# Both make .venv and install the packages of pyproject.toml at the versions of constraints.txt; a second call
# installs nothing.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INPUTS := pyproject.toml constraints.txt
JOBS ?= 2

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	$(BIN)/python main.py demo -o demo_output

test: $(VENV)/.installed-dev lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(INPUTS) | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[humans,video]'
	touch $@

$(VENV)/.installed-dev: $(INPUTS) | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,humans]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) demo_output build *.egg-info
