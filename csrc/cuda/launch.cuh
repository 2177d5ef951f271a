// How csrc/cuda/*.cu define what launch.h declares.
#pragma once

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>

#include "cuda/launch.h"

namespace roiops::cuda {

template <typename Kernel>
__global__ void __launch_bounds__(kThreads) run(const __grid_constant__ Kernel kernel) {
  extern __shared__ int4 memory[];
  DeviceContext context{static_cast<int64_t>(blockIdx.x), kThreads};
  Arena arena{reinterpret_cast<uintptr_t>(memory)};
  kernel(context, arena);
}

template <typename Kernel>
void launch(const Kernel& kernel, int64_t blocks) {
  if (blocks == 0) {
    return;
  }
  Arena size;
  kernel.share(size, kThreads);
  TORCH_CHECK(blocks <= INT32_MAX, "roiops: a call on CUDA must need at most ", INT32_MAX,
      " blocks of threads, but needs ", blocks, ". Split its boxes or images.");
  constexpr int64_t kWithoutAsking = 48 << 10;
  if (size.used > kWithoutAsking) {
    C10_CUDA_CHECK(cudaFuncSetAttribute(
        run<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(size.used)));
  }
  run<Kernel>
      <<<static_cast<unsigned>(blocks), kThreads, size.used, c10::cuda::getCurrentCUDAStream()>>>(
          kernel);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

// All kernels of one geometry of an average-type operator, for one storage type.
#define ROIOPS_MEAN_KERNELS(S, TAPS)                                           \
  template void launch(const Gather<S, TAPS, PlainWeight, false>&, int64_t);   \
  template void launch(const Gather<S, TAPS, PlainWeight, true>&, int64_t);    \
  template void launch(const Gather<S, TAPS, TangentWeight, false>&, int64_t); \
  template void launch(const Scatter<S, MeanSource<S, TAPS>>&, int64_t);       \
  template void launch(const BoxGradient<S, TAPS>&, int64_t);

#define ROIOPS_MAX_KERNELS(S, GEOMETRY)                                            \
  template void launch(const Select<S, GEOMETRY>&, int64_t);                       \
  template void launch(const GatherWinners<S, GEOMETRY, PlainWeight>&, int64_t);   \
  template void launch(const GatherWinners<S, GEOMETRY, TangentWeight>&, int64_t); \
  template void launch(const Scatter<S, WinnerSource<S, GEOMETRY>>&, int64_t);     \
  template void launch(const WinnerBoxGradient<S, GEOMETRY>&, int64_t);

// KERNELS(storage type, GEOMETRY<type of the geometry>) for each storage type.
#define ROIOPS_FOR_EACH_TYPE(KERNELS, GEOMETRY) \
  KERNELS(double, GEOMETRY<double>)             \
  KERNELS(float, GEOMETRY<float>)               \
  KERNELS(c10::Half, GEOMETRY<float>)           \
  KERNELS(c10::BFloat16, GEOMETRY<float>)

}  // namespace roiops::cuda
