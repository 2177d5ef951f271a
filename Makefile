# The verbs of this repository; CI calls the same ones.
#   make demo            build, install into .venv, run the demo
#   make test            build, install into .venv, run the test suite
#   make cuda-build      with the CUDA kernels, in .venv-cuda: what can be tested without a GPU
#   make test-peers      beside torchvision, TensorFlow, OpenVINO and ONNX Runtime, in .venv-cuda
#   make test-install    `pip install --no-build-isolation .` into an environment that has torch only
#   make wheel           a wheel for the installed torch, in dist/, tried in a new environment
#   make fuzz            drawn calls beside the reference, for FUZZ_SECONDS (FUZZ_ARGS: test/fuzz.py)
#   make asan | tsan     calls under AddressSanitizer and UBSan | under ThreadSanitizer
#   make bench           time every operator beside torchvision's (BENCH_ARGS: see docs/benchmarks.md)
#   make bench-plot      the chart of the results in RESULTS; bench-peers: other libraries
#   make bench-models    torchvision's detection models, patched and unpatched; bench-nms: NMS
#   make detector        train examples/detector (MODE=align|psroi|rotated), draw what it finds, export
#   make pictures        docs/images/operators.png (bench-plot, detector: the other pictures)
#   make lint | format   check | fix the style of C++ and Python
# TORCH=2.x.y builds and tests against another torch, in an environment of its own, without CUDA
# kernels (docs/compatibility.md).
# TORCH_CUDA_ARCH_LIST="7.5;8.0;12.0+PTX" builds the CUDA kernels for other GPUs.
PYTHON ?= python3
TORCH_PINNED := 2.13.0
TORCH ?= $(TORCH_PINNED)
VENV := .venv$(if $(filter-out $(TORCH_PINNED),$(TORCH)),-$(TORCH))
PEERS := .venv-cuda
PYTEST_ARGS ?=
BENCH_ARGS ?=
FUZZ_SECONDS ?= 300
FUZZ_ARGS ?=
SANITIZER_ARGS ?=
# A worker per core; the tests of a file share what they have built.
PYTEST = $(1)/bin/pytest -n auto --dist loadfile

# Our own builds fail on warnings; a user's compiler may know other ones. Most torches that pip brings
# are CUDA builds, beside which the kernels would be compiled for every GPU: cuda-build is for that.
OTHER_TORCH := $(filter-out $(TORCH_PINNED),$(TORCH))
export CMAKE_ARGS := -DROIOPS_WERROR=ON $(if $(OTHER_TORCH),-DROIOPS_WITH_CUDA=OFF) $(CMAKE_ARGS)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP_INSTALL = $(1)/bin/pip install --quiet
# No index is needed to install ourselves, and no build environment: torch must be the installed one.
BUILD = $(call PIP_INSTALL,$(1)) --no-build-isolation --no-deps

.PHONY: demo test cuda-build test-peers test-install wheel fuzz asan tsan bench bench-plot \
  bench-peers bench-models bench-nms detector pictures build build-peers lint format clean

demo: build
	$(VENV)/bin/python examples/demo.py --output build/demo

test: build
	$(call PYTEST,$(VENV)) $(PYTEST_ARGS)

build: export CMAKE_ARGS += -DROIOPS_BUILD_TESTS=ON
build: $(VENV)/.ready
	@echo "Building roiops: some minutes on two cores the first time"
	$(call BUILD,$(VENV)) --editable .

$(VENV)/.ready: requirements-dev.txt Makefile
	@echo "Installing torch $(TORCH) into $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(call PIP_INSTALL,$(VENV)) torch==$(TORCH) -r requirements-dev.txt
	touch $@

# A CUDA build of torch. nvcc and headers are searched for; without a GPU the kernels are compiled
# and registered, and everything else runs on the CPU.
PEERS_CMAKE_ARGS = -DROIOPS_BUILD_TESTS=ON -DCMAKE_EXPORT_COMPILE_COMMANDS=ON \
  -DCMAKE_CUDA_FLAGS=-Xptxas=-v \
  -DCMAKE_CUDA_COMPILER_LAUNCHER=$(abspath $(PEERS)/bin/python);$(abspath test/cuda/keep_ptxas_log.py)
build-peers: export TORCH_CUDA_ARCH_LIST ?= 9.0+PTX
build-peers: export CMAKE_ARGS += $(PEERS_CMAKE_ARGS)
build-peers: $(PEERS)/.ready
	@echo "Building roiops for torch 2.11: ten minutes on two cores the first time, with CUDA kernels"
	$(call BUILD,$(PEERS)) --force-reinstall .

# What test-peers runs, and what would find nothing here that `make test` has not found.
NOT_BESIDE_CUDA := peers consumer detector_example fuzz large processes schema_calls \
  nms_many tensor_kinds visualize visualize_bins visualize_draw
cuda-build: export CMAKE_ARGS += -DROIOPS_WITH_CUDA=ON
cuda-build: build-peers
	$(call PYTEST,$(PEERS)) $(PYTEST_ARGS) \
	  $(addprefix --ignore test/,peers $(NOT_BESIDE_CUDA:%=test_%.py))

# The rest of the suite, in the same environment and with the same build. A library with CUDA
# kernels must be found by C++ programs without a CUDA toolkit.
REQUIRED_PEERS := torchvision,tensorflow,openvino,onnx,onnxruntime,onnxscript
test-peers: build-peers
	ROIOPS_REQUIRE_PEERS=$(REQUIRED_PEERS) $(call PYTEST,$(PEERS)) $(PYTEST_ARGS) \
	  test/test_peers.py test/peers test/test_consumer.py

bench: build-peers
	$(PEERS)/bin/python benchmark/run.py $(BENCH_ARGS)

bench-plot: $(VENV)/.ready
	$(VENV)/bin/python benchmark/plot.py $(BENCH_ARGS) \
	  $(or $(RESULTS),$(error RESULTS=FILE.json names the results))

bench-peers: build-peers
	$(PEERS)/bin/python benchmark/peers.py $(BENCH_ARGS)

bench-models: build-peers
	$(PEERS)/bin/python benchmark/models.py $(BENCH_ARGS)

# torchvision's nms beside ours.
bench-nms: build-peers
	$(PEERS)/bin/python benchmark/nms.py $(BENCH_ARGS)

MODE ?= align
DETECTOR := build/detector
detector: build
	$(VENV)/bin/python examples/detector/train.py --mode $(MODE) --output $(DETECTOR)
	$(VENV)/bin/python examples/detector/draw.py $(DETECTOR)/$(MODE).pt $(DETECTOR)/$(MODE).png
	$(VENV)/bin/python examples/detector/export.py $(DETECTOR)/$(MODE).pt

pictures: build
	$(VENV)/bin/python examples/operators_picture.py

$(PEERS)/.ready: requirements-dev.txt requirements-peers.txt Makefile
	@echo "Installing torch 2.11, torchvision and other libraries into $(PEERS): 7 GB"
	$(PYTHON) -m venv $(PEERS)
	$(call PIP_INSTALL,$(PEERS)) torch==2.11.0 torchvision==0.26.0 cmake==4.4.4 \
	  -r requirements-dev.txt -r requirements-peers.txt
	touch $@

# From a copy of the tracked files, so that nothing built before can help. Older torches do not bring
# the setuptools that a build needs.
FRESH := build/fresh
test-install:
	rm -rf $(FRESH) && mkdir -p $(FRESH)/source
	git ls-files -z | xargs -0 cp --parents -t $(FRESH)/source
	$(PYTHON) -m venv $(FRESH)/env
	$(call PIP_INSTALL,$(FRESH)/env) torch==$(TORCH) $(if $(OTHER_TORCH),setuptools==80.9.0)
	$(call PIP_INSTALL,$(FRESH)/env) --no-build-isolation $(FRESH)/source
	cd / && $(abspath $(FRESH)/env)/bin/python $(abspath test/smoke.py)

# What setuptools has left of an earlier wheel would be in this one too.
WHEEL_ENV := build/wheel
wheel: $(VENV)/.ready
	rm -rf build/lib build/bdist.* $(WHEEL_ENV) dist/roiops-*.whl
	$(VENV)/bin/pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist .
	$(PYTHON) -m venv $(WHEEL_ENV)
	$(call PIP_INSTALL,$(WHEEL_ENV)) torch==$(TORCH)
	$(call PIP_INSTALL,$(WHEEL_ENV)) dist/roiops-*-py3-none-*.whl
	cd / && $(abspath $(WHEEL_ENV))/bin/python $(abspath test/smoke.py)

fuzz: build
	$(VENV)/bin/python test/fuzz.py --seconds $(FUZZ_SECONDS) $(FUZZ_ARGS)

asan: build
	$(VENV)/bin/python test/sanitizers/run.py address $(SANITIZER_ARGS)

tsan: build
	$(VENV)/bin/python test/sanitizers/run.py thread $(SANITIZER_ARGS)

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
