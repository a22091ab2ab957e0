# A fresh machine needs `make train` and `make test` only; the rest is for developers.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
ARGS ?=

.PHONY: train test lint slow docs bench bench-compare bench-checkpointing bench-server bench-page \
	bench-tasks gpu-check language-study ablation pretraining clean help

help:                 ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/'

train: $(INSTALLED)   ## train the default run and print its results; ARGS="task=…" changes it
	$(RUN) -m arc.train $(ARGS)

test: lint            ## check style and types, and run the tests that take seconds
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --dist loadfile

lint: $(INSTALLED)    ## ruff and mypy
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

slow: $(INSTALLED)    ## the tests that take minutes: an hour on two cores
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[trackio,wandb]'
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m slow -n auto --dist loadfile

docs: $(INSTALLED)    ## the documentation site, in docs/_build/html (Python 3.11 or newer)
	$(RUN) -m sphinx -W --keep-going -q -b html docs docs/_build/html

bench: $(INSTALLED)   ## training speed, start-up and memory; written to outputs/bench.json
	$(RUN) benchmarks/training.py $(ARGS)

bench-compare: $(INSTALLED) ## two files of make bench: ARGS="before.json after.json"
	$(RUN) benchmarks/training.py --compare $(ARGS)

bench-checkpointing: $(INSTALLED) ## cost of a save during training
	$(RUN) benchmarks/checkpointing.py $(ARGS)

bench-server: $(INSTALLED) ## cost of the server during training, and its response times
	$(RUN) benchmarks/server.py $(ARGS)

bench-page: $(INSTALLED) ## loading and drawing times of the dashboard (needs chromium)
	$(RUN) benchmarks/page.py $(ARGS)

bench-tasks: $(INSTALLED) ## every task, bottleneck and pair mode on real data (resumable)
	$(RUN) benchmarks/ablation.py tasks $(ARGS)

gpu-check: $(INSTALLED) ## correctness and speed on a GPU, in under five minutes
	$(RUN) benchmarks/gpu_check.py $(ARGS)

language-study: $(INSTALLED) ## what the agents talk about, for docs/results/language.md (resumable)
	$(RUN) benchmarks/language.py $(ARGS)

ablation: $(INSTALLED) ## the contribution of each part of the recipe (resumable)
	$(RUN) benchmarks/ablation.py recipe $(ARGS)

pretraining: $(INSTALLED) ## the contribution of pretrained encoders (hours; resumable)
	$(RUN) benchmarks/ablation.py encoders --folder outputs/pretraining $(ARGS)
	$(RUN) benchmarks/ablation.py pretraining --folder outputs/pretraining $(ARGS)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	@touch $@

clean:                ## remove the environment and caches, keep checkpoints
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
