# Each target does its own set-up, in .venv. A second run takes none: the stamp is renewed only when
# the pins or the package's needs change.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs bench

help:
	@echo "make demo    segment real photos from one example with the model that ships inside"
	@echo "make test    run the tests (FCP_DATA_ROOT=DIR adds those that need VOC2012/, COCO/, BSDS500/)"
	@echo "make lint    check style and types"
	@echo "make format  put the style right where a tool can"
	@echo "make docs    build the documentation into site/, with every warning an error"
	@echo "make bench   time the head against a plain version of the same equations"

$(READY): constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,app,free,label-studio,pictures,reproduce,train,video,docs,dev]'
	@touch $@

demo: $(READY)
	$(BIN)/fcp demo

test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal --durations 20

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The theme would tell about its own future versions at each build.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(READY)
	$(BIN)/python benchmarks/head.py
