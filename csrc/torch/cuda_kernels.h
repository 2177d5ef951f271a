#pragma once

namespace roiops {

// Whether this library has CUDA kernels: defined in cuda.cpp or in no_cuda.cpp.
bool has_cuda_kernels();

}  // namespace roiops
