# The verbs of this repository; CI calls the same ones.
#   make demo            build, install into .venv, run the demo
#   make test            build, install into .venv, run the test suite
#   make test-peers      beside torchvision, TensorFlow, OpenVINO and ONNX Runtime, in .venv-cuda
#   make test-install    `pip install --no-build-isolation .` into an environment that has torch only
#   make lint | format   check | fix the style of C++ and Python
# TORCH=2.x.y builds and tests against another torch, in an environment of its own.
PYTHON ?= python3
TORCH_PINNED := 2.13.0
TORCH ?= $(TORCH_PINNED)
VENV := .venv$(if $(filter-out $(TORCH_PINNED),$(TORCH)),-$(TORCH))
PEERS := .venv-cuda
PYTEST_ARGS ?=

# Our own builds fail on warnings; a user's compiler may know other ones.
export CMAKE_ARGS := -DROIOPS_WERROR=ON $(CMAKE_ARGS)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP_INSTALL = $(1)/bin/pip install --quiet
# No index is needed to install ourselves, and no build environment: torch must be the installed one.
BUILD = $(call PIP_INSTALL,$(1)) --no-build-isolation --no-deps

.PHONY: demo test test-peers test-install build lint format clean

demo: build
	$(VENV)/bin/python examples/demo.py --output build/demo

test: build
	$(VENV)/bin/pytest $(PYTEST_ARGS)

build: $(VENV)/.ready
	$(call BUILD,$(VENV)) --editable .

$(VENV)/.ready: requirements-dev.txt Makefile
	$(PYTHON) -m venv $(VENV)
	$(call PIP_INSTALL,$(VENV)) torch==$(TORCH) -r requirements-dev.txt
	touch $@

# A CUDA build of torch: torchvision has no other. Its kernels run on CPU here, and our library must
# build, and be found by C++ programs, without a CUDA toolkit.
REQUIRED_PEERS := torchvision,tensorflow,openvino,onnx,onnxruntime
test-peers: $(PEERS)/.ready
	$(call BUILD,$(PEERS)) --force-reinstall .
	ROIOPS_REQUIRE_PEERS=$(REQUIRED_PEERS) $(PEERS)/bin/pytest $(PYTEST_ARGS) \
	  test/test_peers.py test/peers test/test_consumer.py

$(PEERS)/.ready: requirements-dev.txt requirements-peers.txt Makefile
	$(PYTHON) -m venv $(PEERS)
	$(call PIP_INSTALL,$(PEERS)) torch==2.11.0 torchvision==0.26.0 \
	  -r requirements-dev.txt -r requirements-peers.txt
	touch $@

# From a copy of the tracked files, so that nothing built before can help.
FRESH := build/fresh
test-install:
	rm -rf $(FRESH) && mkdir -p $(FRESH)/source
	git ls-files -z | xargs -0 cp --parents -t $(FRESH)/source
	$(PYTHON) -m venv $(FRESH)/env
	$(call PIP_INSTALL,$(FRESH)/env) torch==$(TORCH)
	$(call PIP_INSTALL,$(FRESH)/env) --no-build-isolation $(FRESH)/source
	cd / && $(abspath $(FRESH)/env)/bin/python $(abspath test/smoke.py)

CXX_FILES = $(shell git ls-files '*.cpp' '*.h' '*.cu' '*.cuh')

lint: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/clang-format --dry-run --Werror $(CXX_FILES)
	$(VENV)/bin/mypy

format: $(VENV)/.ready
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/clang-format -i $(CXX_FILES)

clean:
	rm -rf build dist *.egg-info roiops/lib roiops/include roiops/share
