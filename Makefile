# Everything a newcomer needs: `make demo` and `make test` set themselves up in .venv.
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
DEMO := demo

.PHONY: help install test lint demo demo-clean clean

help:
	@echo "make demo   train vanilla and CutMix on the embedded dataset, localize both, compare them"
	@echo "make test   run the whole test suite"
	@echo "make lint   ruff and mypy"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (the first time this brings torch, several GB)"
	@$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

test: $(STAMP)
	$(PY) -m pytest

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# Two short trainings, each scored under every protocol, then side by side. Finished runs are reused, a killed one
# is resumed.
demo: $(STAMP) $(DEMO)/vanilla/eval/results.json $(DEMO)/cutmix/eval/results.json
	@$(PY) -m eval.overview $(DEMO)/vanilla $(DEMO)/cutmix
	@$(PY) -m eval.compare $(DEMO)/vanilla $(DEMO)/cutmix --out $(DEMO)/comparison
	@echo "pictures: $(DEMO)/vanilla/eval/pictures/test.png and $(DEMO)/cutmix/eval/pictures/test.png"

$(DEMO)/%/eval/results.json: | $(STAMP)
	@if test -e $(DEMO)/$*/run.yaml && ! grep -q '^status: finished' $(DEMO)/$*/run.yaml; \
	  then $(PY) train_cutmix.py --resume --out $(DEMO)/$*; \
	elif ! test -e $(DEMO)/$*/run.yaml; \
	  then $(PY) train_cutmix.py --method $* --epochs 12 --out $(DEMO)/$*; fi
	@$(PY) -m eval.localize $(DEMO)/$*

demo-clean:
	rm -rf $(DEMO)

clean: demo-clean
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
