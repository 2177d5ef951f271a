#!/usr/bin/env bash
# Everything about the CUDA kernels that needs a GPU, in one command of under ten minutes, on a machine
# that has torch, torchvision, nvcc, cmake, ninja and pytest:
#
#   benchmark/gpu_check.sh [fast]
#
# Builds, tests, looks for bad accesses and races (compute-sanitizer), and times the named workloads
# beside torchvision; a table comes last. Logs and JSON go to $OUT (default build/gpu_check). `fast`
# leaves out the sanitizer. What pip must install and the machine lacks is taken from $WHEELS.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-build/gpu_check}
mkdir -p "$out"
python=${PYTHON:-python3}
results=()

# step NAME SECONDS COMMAND...: its output goes to a log, its verdict into the table.
step() {
  local name=$1 limit=$2 started=$SECONDS verdict=ok
  shift 2
  timeout "$limit" "$@" >"$out/$name.log" 2>&1 || verdict="FAILED ($?)"
  results+=("$(printf '%-12s %-14s %4d s  %s' "$name" "$verdict" $((SECONDS - started)) \
    "$(grep -v '^$' "$out/$name.log" | tail -1 | cut -c1-90)")")
  echo "${results[-1]}"
  [ "$verdict" = ok ]
}

env=build/gpu_env
step environment 60 bash -c "
  $python -m venv --system-site-packages $env &&
  { $env/bin/python -c 'import expecttest' 2>/dev/null ||
    $env/bin/pip install ${WHEELS:+--no-index --find-links $WHEELS} expecttest; }"
# setuptools and cmake may be too old for pip; the build directory is kept between runs.
build() {
  local arch
  arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1)
  TORCH_CUDA_ARCH_LIST=$arch \
    CMAKE_ARGS="-DROIOPS_WITH_CUDA=ON -DROIOPS_BUILD_TESTS=ON -DCMAKE_EXPORT_COMPILE_COMMANDS=ON" \
    "$env/bin/pip" install --no-build-isolation --no-deps --force-reinstall --no-index .
}
step build 400 build || { tail -30 "$out/build.log"; exit 1; }

export ROIOPS_REQUIRE_CUDA=1
step device 120 "$env/bin/pytest" -q -p no:cacheprovider test/cuda/test_device.py \
  test/cuda/test_device_boxes.py test/cuda/test_cuda_build.py
step kernels 300 "$env/bin/pytest" -q -p no:cacheprovider -x test/test_values.py \
  test/test_layouts.py test/test_gradients.py -k 'cuda-'
if [ "${1:-}" != fast ] && command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    step "$tool" 150 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$env/bin/python" test/cuda/sanitize.py
  done
fi
step benchmark 240 "$env/bin/python" benchmark/run.py --device cuda --seconds 0.3 \
  --results "$out" --name gpu
step nms 60 "$env/bin/python" benchmark/nms.py --device cuda --seconds 0.3 --results "$out" --name nms

echo
sed -n '/boxes/,$p' "$out/nms.log" | tail -30
sed -n '/workload/,$p' "$out/benchmark.log" | tail -150
printf '%s\n' "${results[@]}"
! printf '%s\n' "${results[@]}" | grep -q FAILED
