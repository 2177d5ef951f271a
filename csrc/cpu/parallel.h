#pragma once

#include <cstdint>
#include <functional>

namespace roiops::cpu {

// Calls body(begin, end) on disjoint ranges that cover [0, count), on PyTorch's threads
// (csrc/torch/parallel.cpp). Which thread gets what must not show in any result.
void parallel_for(int64_t count, const std::function<void(int64_t, int64_t)>& body);

}  // namespace roiops::cpu
