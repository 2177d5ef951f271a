#include "cpu/runtime.h"

#include <algorithm>
#include <atomic>

#include <ATen/Parallel.h>
#include <ATen/Version.h>

#ifndef INTRA_OP_PARALLEL
#error "at::parallel_for is serial in this file: compile it with OpenMP"
#endif

namespace roiops::cpu {

// Threads take the next items when they are done with theirs: pieces differ, and so do cores.
void parallel_for(int64_t count, const std::function<void(int64_t, int64_t)>& body, int64_t grain) {
  constexpr int64_t kTurns = 8;
  const int64_t threads =
      std::min<int64_t>(at::in_parallel_region() ? 1 : at::get_num_threads(), count / grain);
  if (threads <= 1) {
    if (count > 0) {
      body(0, count);
    }
    return;
  }
  const int64_t step = std::max<int64_t>(count / (threads * kTurns), 1);
  std::atomic<int64_t> next{0};
  at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    for (int64_t begin = next.fetch_add(step); begin < count; begin = next.fetch_add(step)) {
      body(begin, std::min(begin + step, count));
    }
  });
}

Isa isa() {
  const std::string capability = at::get_cpu_capability();
  if (capability == "AVX512") {
    return Isa::kAvx512;
  }
  return capability == "AVX2" ? Isa::kAvx2 : Isa::kDefault;
}

}  // namespace roiops::cpu
