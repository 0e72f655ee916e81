# Everything a newcomer needs: `make demo` and `make test` set themselves up in .venv.
PYTHON ?= python3
VENV ?= .venv
# The releases that are installed: constraints.txt, constraints-oldest.txt, or nothing for the newest of today.
CONSTRAINTS ?= constraints.txt
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
DEMO := demo
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

.PHONY: help install test lint demo demo-clean clean

help:
	@echo "make demo   train vanilla and CutMix on the embedded dataset, localize both, compare them"
	@echo "make test   run the whole test suite"
	@echo "make lint   ruff and mypy"

install: $(STAMP)

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (the first time this brings torch, several GB)"
	@$(PY) -m pip install --quiet --disable-pip-version-check $(addprefix --constraint ,$(CONSTRAINTS)) --editable '.[dev]'
	@touch $@

# Two processes of one thread each: OpenMP's threads would only get in each other's way.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses 2 --dist loadfile

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# Two short trainings side by side, one core each, scored under every protocol, then compared. Finished runs are
# reused, killed ones resumed.
demo: $(STAMP)
	@$(PY) -c "from wsol.datasets.catalog import open_dataset; open_dataset('parts')"
	@OMP_NUM_THREADS=1 $(MAKE) --no-print-directory -j 2 $(DEMO)/vanilla/eval/results.json $(DEMO)/cutmix/eval/results.json
	@$(PY) -m eval.compare $(DEMO)/vanilla $(DEMO)/cutmix --out $(DEMO)/comparison
	@$(PY) -m eval.overview $(DEMO)/vanilla $(DEMO)/cutmix
	@echo "pictures: $(DEMO)/vanilla/eval/pictures/test.png, $(DEMO)/cutmix/eval/pictures/test.png"
	@echo "open $(DEMO)/comparison/compare.html; then look at a photograph of yours: $(PY) -m eval.show photo.jpg"

$(DEMO)/%/eval/results.json: | $(STAMP)
	@mkdir -p $(DEMO)
	@if grep -qs '^status: finished' $(DEMO)/$*/run.yaml; then arguments=; \
	elif test -e $(DEMO)/$*/run.yaml; then arguments="--resume --out $(DEMO)/$*"; \
	else arguments="--method $* --epochs 16 --out $(DEMO)/$*"; fi; \
	if test -n "$$arguments"; then $(PY) train_cutmix.py $$arguments 2>&1 | sed -u 's/^/$* | /'; fi
	@$(PY) -m eval.localize $(DEMO)/$* > $(DEMO)/$*.txt && echo "$* | scored: $(DEMO)/$*.txt"

demo-clean:
	rm -rf $(DEMO)

clean: demo-clean
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
