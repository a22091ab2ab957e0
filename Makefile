# `make train` and `make test` are all that a fresh machine needs; the rest is for developers.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
ARGS ?=

.PHONY: train test lint slow benchmark saves endpoint page ablation bars pretraining clean help

help:                 ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/'

train: $(INSTALLED)   ## three minutes of the default game, then its table; ARGS="task=…" to change it
	$(RUN) -m arc.train training.max_minutes=3 $(ARGS)

test: lint            ## style, types, and every test
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --dist loadfile

lint: $(INSTALLED)    ## ruff and mypy
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

slow: $(INSTALLED)    ## the tests that take minutes
	$(RUN) -m pytest -m slow

benchmark: $(INSTALLED) ## training rate beside a bare convolution's
	$(RUN) benchmarks/throughput.py $(ARGS)

saves: $(INSTALLED)   ## what a save costs a run
	$(RUN) benchmarks/saves.py $(ARGS)

endpoint: $(INSTALLED) ## what watching costs a run, and how soon clients are answered
	$(RUN) benchmarks/endpoint.py $(ARGS)

page: $(INSTALLED)    ## how soon the page shows, and how long its charts take (needs chromium)
	$(RUN) benchmarks/page.py $(ARGS)

ablation: $(INSTALLED) ## what each part of the recipe buys (about an hour on 2 cores; resumable)
	$(RUN) benchmarks/ablation.py recipe $(ARGS)

bars: $(INSTALLED)    ## every task, bottleneck and pair mode on real data (half an hour; resumable)
	$(RUN) benchmarks/ablation.py tasks $(ARGS)

pretraining: $(INSTALLED) ## what pretrained encoders bring the games (hours; resumable)
	$(RUN) benchmarks/ablation.py encoders --folder outputs/pretraining $(ARGS)
	$(RUN) benchmarks/ablation.py pretraining --minutes 5 --folder outputs/pretraining $(ARGS)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:                ## remove the environment and caches, keep checkpoints
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
