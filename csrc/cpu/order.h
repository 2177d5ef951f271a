// Stable orders of keys.
#pragma once

#include <cstdint>

namespace roiops::cpu {

// Larger scores have smaller keys; NaN, as in torch.sort, is the largest, and -0 equals 0.
uint64_t descending_key(double score);
// Smaller numbers have smaller keys.
uint64_t ascending_key(int64_t number);

// order[i] is the number of the i-th smallest key; equal keys stay in order.
void order_by_key(const uint64_t* keys, int64_t count, int32_t* order);

}  // namespace roiops::cpu
