# Two commands do all set-up on a fresh machine: `make serve` (the platform) and `make test` (everything that CI runs).
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-warn-conflicts --no-compile -q -c constraints.txt
# What pip would do on one core; it too says nothing of files for another Python.
COMPILE := $(BIN)/python -W ignore -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
DATA ?= ../shared/data/camvid
OUT ?= runs
PORT ?= 8000
HOST ?= 127.0.0.1
MINUTES ?= 30
PYTEST := $(BIN)/python -m pytest
# What starts real processes is tried once more when it fails, and the summary names it with its first failure.
ONCE_MORE := --reruns 1 --reruns-delay 5 --rerun-show-tracebacks -raR

.PHONY: help install serve test check format unit contract integration e2e chaos load soak bench bench-gpu measure footprint promptable-bench picture hair evaluate train constraints clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed: install it, or name it with PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing the platform into $(VENV) (once) ..."
	@$(PIP) -e . && { $(COMPILE); } && touch $@

$(VENV)/.full: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing the platform, torch, the model libraries and the tools into $(VENV) (once, 5.5 GB) ..."
	@$(PIP) -e '.[models,dev]' && { $(COMPILE); } && touch $(VENV)/.base $@
	@$(BIN)/python -m tests.unit.helm.binaries || echo "helm is not to be had here; tests of the chart will skip"

$(VENV)/.bench: $(VENV)/.full
	@$(PIP) -e '.[models,dev,bench]' && touch $@

# Each peer of the benchmark in an environment of its own, with its own versions of everything but the engines, which
# are read from ours. Triton's interpreter is linked to an early 3.11, so the system's Python is tried for it first.
PEERS := litserve bentoml mosec pytriton
PEERS_DONE := $(PEERS:%=.venv-bench/%/.done)
.venv-bench/%/.done: load_tests/peers/requirements/%.txt $(VENV)/.full
	@echo "Installing the peer $* into .venv-bench/$* (once) ..."
	@rm -rf .venv-bench/$*
	@minor=$$($(BIN)/python -c 'import sys; print("python%d.%d" % sys.version_info[:2])'); \
	python=$(BIN)/python; [ $* = pytriton ] && [ -x /usr/bin/$$minor ] && python=/usr/bin/$$minor; \
	{ $$python -m venv .venv-bench/$* && \
	  .venv-bench/$*/bin/python -m pip install --disable-pip-version-check -q -r $< && \
	  $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	    > .venv-bench/$*/lib/$$minor/site-packages/segserve-engines.pth && touch $@; } || \
	{ echo "The peer $* is not to be had here; the report will say so."; rm -rf .venv-bench/$*; }

install: $(VENV)/.full ## All that tests and tools need

serve: $(VENV)/.base ## Start the platform on this machine; HOST and PORT can be set
	@exec $(BIN)/python -m deploy.local --host $(HOST) --port $(PORT)

# Two at a time: integration mostly waits, and meanwhile those compute, and give way, that start no platform. The output
# of each appears whole when it has ended; one that fails keeps no other from running.
SUITES := integration check unit contract e2e
test: $(VENV)/.full ## Everything that CI runs
	@$(MAKE) --no-print-directory --jobs 2 --keep-going $(if $(filter output-sync,$(.FEATURES)),--output-sync) $(SUITES)

check: $(VENV)/.full ## Lint, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	nice $(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.full ## Put the code into its one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

unit: $(VENV)/.full ## No Ray, no sockets
	nice $(PYTEST) tests/unit

contract: $(VENV)/.full ## Every model card
	nice $(PYTEST) tests/contract

integration: $(VENV)/.full ## Real Ray, real Valkey
	$(PYTEST) $(ONCE_MORE) tests/integration

e2e: $(VENV)/.full ## The platform over HTTP
	$(PYTEST) $(ONCE_MORE) tests/e2e

chaos: $(VENV)/.full ## Faults injected into the running platform
	$(PYTEST) tests/chaos

load: $(VENV)/.full ## Users with locust against a running platform, one minute
	$(BIN)/locust -f load_tests/locustfile.py --headless -u 16 -r 4 -t 60s --host http://$(HOST):$(PORT)

soak: $(VENV)/.full ## Users for MINUTES (30) on a platform of its own: nothing may grow, slow down or answer wrongly
	$(BIN)/python -m load_tests.soak --minutes $(MINUTES)

bench: $(VENV)/.bench $(PEERS_DONE) ## SegServe and its peers side by side, report in OUT/bench; BENCH=--quick for a short one
	$(BIN)/python -m load_tests.bench --out $(OUT)/bench $(BENCH)

bench-gpu: $(VENV)/.full ## Networks alone and served on this machine's GPU, report in OUT/gpu; BENCH=--quick for a short one
	$(BIN)/python -m load_tests.gpu --out $(OUT)/gpu $(BENCH)

measure: $(VENV)/.base ## Latency and throughput of a running platform
	$(BIN)/python -m load_tests.measure --url http://$(HOST):$(PORT)

footprint: $(VENV)/.base ## Start-up time, memory and idle CPU of the platform, by process
	$(BIN)/python -m load_tests.footprint

promptable-bench: $(VENV)/.full ## Promptable at its limits, on a platform of its own; BENCH=--quick for a short run
	$(BIN)/python -m load_tests.promptable $(BENCH)

picture: $(VENV)/.base ## The README's picture, from a running platform
	$(BIN)/python -m deploy.picture --url http://$(HOST):$(PORT)

hair: $(VENV)/.base ## The README's picture of hair, from the effects themselves
	$(BIN)/python -m deploy.hair

evaluate: $(VENV)/.base ## Accuracy of the running platform on the data set in DATA; report and pictures in OUT
	@$(BIN)/python -m services.cli evaluate $(DATA) --url http://$(HOST):$(PORT) --out $(OUT)/evaluate

train: $(VENV)/.full ## Train the bundled model on DATA, checkpoints and curve in OUT; resumes; START=FILE begins from weights
	$(BIN)/python -m shared.models.training --data $(DATA) --out $(OUT)/street --resume $(if $(START),--start $(START))

constraints: $(VENV)/.full ## Pin what is installed now
	@{ echo "# Every version that the project is tested with, for Python 3.11 and 3.12. Made by \`make constraints\`."; \
	   $(BIN)/python -m pip freeze --exclude-editable | grep -v ' @ ' | grep -vE '^(pip|setuptools|wheel)=='; } > constraints.new
	@mv constraints.new constraints.txt

clean: ## Remove what make installed and built
	rm -rf $(VENV) .venv-bench build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
