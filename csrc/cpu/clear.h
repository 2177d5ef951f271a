// Zeros in parts of a tensor.
#pragma once

#include <algorithm>

#include "core/view.h"

namespace roiops::cpu {

// Zeros in `outer` x `inner` elements.
template <typename S>
void clear(S* data, int64_t outer, int64_t outer_stride, int64_t inner, int64_t inner_stride) {
  for (int64_t i = 0; i < outer; ++i) {
    S* const at = data + i * outer_stride;
    if (inner_stride == 1) {
      std::fill_n(at, inner, S(0));
      continue;
    }
    for (int64_t j = 0; j < inner; ++j) {
      at[j * inner_stride] = S(0);
    }
  }
}

// Zeros in pixels [first, end) of a block of channels.
template <typename S>
void clear_pixels(const Block<S>& map, int64_t first, int64_t end) {
  S* const data = map.data + first * map.item_stride;
  if (map.lane_stride == 1 && map.lanes > 1) {
    clear(data, end - first, map.item_stride, map.lanes, 1);
  } else {
    clear(data, map.lanes, map.lane_stride, end - first, map.item_stride);
  }
}

}  // namespace roiops::cpu
