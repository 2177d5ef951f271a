// What the geometry side and the per-ISA side of the CPU engine exchange: plain data only, so that
// no inline function is compiled twice under different instruction sets.
#pragma once

#include "core/view.h"

namespace roiops::cpu {

// Channels per panel: 64 bytes of accumulators, a line of the cache. Wider panels leave the cache.
template <typename T>
inline constexpr int32_t kLanes = static_cast<int32_t>(64 / sizeof(T));

// Below this a panel, which always has kLanes, would be mostly empty.
template <typename T>
inline constexpr int64_t kFewLanes = kLanes<T> / 4;

template <typename T>
struct Tap {
  int32_t pixel;  // y * width + x
  T weight;
};

// The taps of one RoI: those of bin b are taps[start[b]] .. taps[start[b + 1] - 1].
template <typename T>
struct RoiTaps {
  int64_t bins;
  const int64_t* start;  // [bins + 1]
  const Tap<T>* taps;

  RoiTaps slice(int64_t first, int64_t count) const {
    return {count, start + first, taps};
  }
};

}  // namespace roiops::cpu
