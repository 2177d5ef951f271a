// CUDA kernels: the block kernels on the GPU.
#include "cuda/launch.h"
#include "torch/block_backend.h"
#include "torch/block_nms.h"
#include "torch/cuda_kernels.h"

namespace roiops {
namespace {

struct DeviceLauncher {
  static int32_t threads() {
    return cuda::kThreads;
  }
  template <typename Kernel>
  static void launch(const Kernel& kernel, int64_t blocks) {
    cuda::launch(kernel, blocks);
  }
};

}  // namespace

bool has_cuda_kernels() {
  return true;
}

TORCH_LIBRARY_IMPL(roiops, CUDA, m) {
  register_mean_ops<BlockBackend<DeviceLauncher>>(m);
  register_max_ops<BlockBackend<DeviceLauncher>>(m);
  register_nms_ops<BlockNms<DeviceLauncher>>(m);
}

}  // namespace roiops
