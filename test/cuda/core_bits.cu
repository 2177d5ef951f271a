// core_bits_cuda host|device <file of boxes>
#include <cstdlib>
#include <string>

#include <cuda_runtime.h>

#include "core_bits.h"

namespace {

void check(cudaError_t error) {
  if (error != cudaSuccess) {
    std::fprintf(stderr, "core_bits_cuda: %s\n", cudaGetErrorString(error));
    std::exit(1);
  }
}

// A thread per box.
__global__ void fingerprint_kernel(const roiops::Box* boxes, int64_t count,
    const roiops::Options* options, roiops::Fingerprints* results) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count) {
    roiops::fingerprint(boxes[i], options, results[i]);
  }
}

template <typename T>
T* to_device(const T* data, size_t count) {
  T* copy = nullptr;
  check(cudaMalloc(&copy, count * sizeof(T)));
  check(cudaMemcpy(copy, data, count * sizeof(T), cudaMemcpyHostToDevice));
  return copy;
}

std::vector<roiops::Fingerprints> fingerprints_on_device(const std::vector<roiops::Box>& boxes) {
  std::vector<roiops::Fingerprints> results(boxes.size());
  auto* const on_device = to_device(results.data(), results.size());
  constexpr int kThreads = 64;
  fingerprint_kernel<<<boxes.size() / kThreads + 1, kThreads>>>(
      to_device(boxes.data(), boxes.size()), static_cast<int64_t>(boxes.size()),
      to_device(roiops::kOptions, roiops::kOptionCount), on_device);
  check(cudaGetLastError());
  check(cudaMemcpy(results.data(), on_device, results.size() * sizeof(roiops::Fingerprints),
      cudaMemcpyDeviceToHost));
  return results;
}

}  // namespace

int main(int, char** arguments) {
  const auto boxes = roiops::read_boxes(arguments[2]);
  const bool device = arguments[1] == std::string("device");
  roiops::print(device ? fingerprints_on_device(boxes) : roiops::fingerprints_on_host(boxes));
}
