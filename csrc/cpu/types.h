// What the geometry side and the per-ISA side of the CPU engine exchange: plain data. Its members
// are inlined always: a copy compiled for one instruction set could be called from another's code.
#pragma once

#include "core/view.h"

// Also for what keeps vectors in registers only if it is inlined.
#define ROIOPS_INLINE __attribute__((always_inline)) inline

namespace roiops::cpu {

// Channels per panel: 64 bytes of accumulators, a line of the cache. Wider panels leave the cache.
template <typename T>
inline constexpr int32_t kLanes = static_cast<int32_t>(64 / sizeof(T));

// Below this a panel, which always has kLanes, would be mostly empty.
template <typename T>
inline constexpr int64_t kFewLanes = kLanes<T> / 4;

// Some panels of one image, or of the bins of one RoI.
template <typename T>
struct Panels {
  const T* data;
  int64_t stride;       // from one to the next
  int64_t first_pixel;  // of the image, with which they start
};

template <typename T>
struct Tap {
  int32_t pixel;  // y * width + x; or, on an axis, the row or the column
  T weight;
};

// The taps of one bin.
template <typename T>
struct BinTaps {
  const Tap<T>* begin;
  const Tap<T>* end;
};

// The taps of one RoI: those of bin b are taps[start[b]] .. taps[stop[b] - 1].
template <typename T>
struct RoiTaps {
  int64_t bins;
  const int64_t* start;  // [bins]
  const int64_t* stop;   // [bins]
  const Tap<T>* taps;

  ROIOPS_INLINE BinTaps<T> bin(int64_t b) const {
    return {taps + start[b], taps + stop[b]};
  }
  ROIOPS_INLINE bool is_empty(int64_t b) const {
    return start[b] == stop[b];
  }
  // Some of its bins.
  ROIOPS_INLINE RoiTaps part(int64_t b, int64_t count) const {
    return {count, start + b, stop + b, taps};
  }
};

// The same along one axis, bin after bin; all taps lie in [first, end).
template <typename T>
struct AxisBins : RoiTaps<T> {
  int32_t first, end;
};

// The taps of a bin as the products of those of its two axes.
template <typename T>
struct BinAxes {
  BinTaps<T> y, x;
  int64_t width;  // of the map
};

// A RoI whose taps are the products of its axes'.
template <typename T>
struct RoiAxes {
  int64_t bins;
  AxisBins<T> y, x;
  int64_t width;  // of the map

  ROIOPS_INLINE BinAxes<T> bin(int64_t b) const {
    // 32 bits are enough, and divide faster.
    const auto at = static_cast<uint32_t>(b), columns = static_cast<uint32_t>(x.bins);
    return {y.bin(at / columns), x.bin(at % columns), width};
  }
  ROIOPS_INLINE bool is_empty(int64_t b) const {
    return y.is_empty(b / x.bins) || x.is_empty(b % x.bins);
  }
  // Some rows of bins, whole or one bin of them.
  ROIOPS_INLINE RoiAxes part(int64_t p, int64_t rows, int64_t q, int64_t columns) const {
    return {rows * columns, {y.part(p, rows), y.first, y.end}, {x.part(q, columns), x.first, x.end},
        width};
  }
};

}  // namespace roiops::cpu
