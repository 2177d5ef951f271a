// What the CPU engine asks of PyTorch (csrc/torch/runtime.cpp).
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

namespace roiops::cpu {

// How many threads parallel_for would use here.
int64_t threads();

// Calls body(begin, end) on disjoint ranges that cover [0, count), on PyTorch's threads, of which
// each is worth `grain` items. Which thread gets what must not show in any result.
void parallel_for(
    int64_t count, const std::function<void(int64_t, int64_t)>& body, int64_t grain = 1);

// So many multiply-adds are worth a thread: waking it takes longer than fewer.
inline constexpr int64_t kThreadWork = int64_t{1} << 15;

// How many threads so much work is worth.
inline int64_t threads_for(int64_t work) {
  return std::clamp<int64_t>(work / kThreadWork, 1, threads());
}

// How many of `count` items are worth a thread, if all of them together are so much work.
inline int64_t grain_for(int64_t count, int64_t work) {
  return std::max<int64_t>(count * kThreadWork / std::max<int64_t>(work, 1), 1);
}

// RoIs, and bins, whose geometry is worth a thread.
inline constexpr int64_t kRoiGrain = 8, kBinGrain = 256;

// The instruction set that PyTorch's own kernels use; ATEN_CPU_CAPABILITY=default, avx2 or avx512
// forces one.
enum class Isa { kDefault, kAvx2, kAvx512 };
Isa isa();

}  // namespace roiops::cpu
