#include "cpu/runtime.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>

#ifndef INTRA_OP_PARALLEL
#error "at::parallel_for is serial in this file: compile it with OpenMP"
#endif

namespace roiops::cpu {

void parallel_for(int64_t count, const std::function<void(int64_t, int64_t)>& body) {
  at::parallel_for(0, count, /*grain_size=*/1, body);
}

Isa isa() {
  const std::string capability = at::get_cpu_capability();
  if (capability == "AVX512") {
    return Isa::kAvx512;
  }
  return capability == "AVX2" ? Isa::kAvx2 : Isa::kDefault;
}

}  // namespace roiops::cpu
