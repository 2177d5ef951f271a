// The kernels of csrc/cuda on the host, block after block and thread after thread (NOTE [Phases]),
// as operators of a library of their own, roiops_blocks, with the schemas of roiops.
#include <torch/library.h>

#include "torch/block_backend.h"
#include "torch/block_nms.h"

namespace roiops {
namespace {

int32_t threads_per_block = 256;
bool last_thread_first = false;

struct HostLauncher {
  static int32_t threads() {
    return threads_per_block;
  }

  // Shared memory starts as garbage, as on a GPU.
  template <typename Kernel>
  static void launch(const Kernel& kernel, int64_t blocks) {
    cuda::Arena size;
    kernel.share(size, threads());
    std::vector<double> memory(size.used / sizeof(double) + 2);
    for (int64_t block = 0; block < blocks; ++block) {
      std::fill(memory.begin(), memory.end(), std::nan(""));
      cuda::HostContext context{block, threads(), last_thread_first};
      cuda::Arena arena{(reinterpret_cast<uintptr_t>(memory.data()) + 15) / 16 * 16};
      kernel(context, arena);
    }
  }
};

void set_threads(int64_t threads, bool backwards) {
  threads_per_block = static_cast<int32_t>(threads);
  last_thread_first = backwards;
}

}  // namespace

TORCH_LIBRARY(roiops_blocks, m) {
  m.def("set_threads(int threads, bool backwards=False) -> ()", set_threads);
  for (const c10::OperatorName& name : c10::Dispatcher::singleton().getAllOpNames()) {
    if (name.name.rfind("roiops::", 0) == 0) {
      const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(name.name.c_str(), "");
      m.def(op.schema().cloneWithName("roiops_blocks" + name.name.substr(6), ""));
    }
  }
}

TORCH_LIBRARY_IMPL(roiops_blocks, CPU, m) {
  register_mean_ops<BlockBackend<HostLauncher>>(m);
  register_max_ops<BlockBackend<HostLauncher>>(m);
  register_nms_ops<BlockNms<HostLauncher>>(m);
}

}  // namespace roiops
