// Runs a kernel on the GPU. The kernels are compiled in csrc/cuda/*.cu, which do not know ATen.
#pragma once

#include "cuda/box_gradient.h"
#include "cuda/mean_source.h"
#include "cuda/select.h"
#include "cuda/soft_suppress.h"
#include "cuda/suppress.h"
#include "cuda/winners.h"

namespace roiops::cuda {

inline constexpr int32_t kThreads = 256;

// On the current device and stream, in blocks of kThreads.
template <typename Kernel>
void launch(const Kernel& kernel, int64_t blocks);

}  // namespace roiops::cuda
