// The taps of a bin on one axis: its samples' pixels, merged.
//
// NOTE [Merged taps]
// All samples of a bin that read the same pixel become one tap, and a separable op's taps are the
// outer product of its two axes: neighbouring samples share their loads, and the cost of a bin is
// the number of pixels it touches, not the number of samples. The mean is folded into the weights
// (1 / samples on each axis; rejected samples stay in the divisor). Taps of weight zero that an
// accepted sample reads are kept: their slope may not be zero, and an inf or NaN there must show.
#pragma once

#include "core/sampling.h"

namespace roiops {

template <typename T>
struct AxisTap {
  int32_t pixel;
  T weight;
  T slope_low;   // d weight / d (low coordinate of the RoI, in image coordinates)
  T slope_high;  // d weight / d (high coordinate)
};

// How many taps bin p has at most: two per sample, one per pixel.
template <typename T>
C10_HOST_DEVICE int64_t max_axis_taps(const SampleAxis<T>& axis, int32_t p, int32_t pixels) {
  const int64_t samples = accepted_samples(axis, p, pixels).count;
  return 2 * samples < pixels ? 2 * samples : pixels;
}

// Adds to the tap of `pixel`, or appends it. The caller's pixels never fall by more than the one
// step back from a sample's second pixel to the next sample's first, so that the list stays sorted
// and the search ends after two looks.
template <typename T>
C10_HOST_DEVICE int64_t merge_tap(AxisTap<T>* taps, int64_t count, const AxisTap<T>& tap) {
  int64_t at = count;
  while (at > 0 && taps[at - 1].pixel > tap.pixel) {
    --at;
  }
  if (at > 0 && taps[at - 1].pixel == tap.pixel) {
    taps[at - 1].weight += tap.weight;
    taps[at - 1].slope_low += tap.slope_low;
    taps[at - 1].slope_high += tap.slope_high;
    return count;
  }
  taps[count] = tap;
  return count + 1;
}

// Pixels of an axis; none unless first < end.
struct AxisReach {
  int32_t first, end;

  C10_HOST_DEVICE bool contains(int32_t pixel) const {
    return pixel >= first && pixel < end;
  }
  C10_HOST_DEVICE bool meets(const AxisReach& other) const {
    return first < end && first < other.end && other.first < end;
  }
};

// Calls tap(AxisTap) for both pixels of every sample of bin p that may lie between two positions,
// unmerged; pixels never fall by more than one from call to call.
template <typename T, typename TapFn>
C10_HOST_DEVICE void for_each_tap_between(
    const SampleAxis<T>& axis, int32_t p, int32_t pixels, T low, T high, TapFn&& tap) {
  const SampleRange<T> range = samples_between(axis, p, pixels, low, high);
  for (int64_t i = 0; i < range.count; ++i) {
    // Reversed boxes walk down the axis; take their samples from the far end.
    const T sample = range.first + T(axis.bin < T(0) ? range.count - 1 - i : i);
    const BilinearTaps<T> at = bilinear_taps(axis.position(p, sample), pixels);
    const T high = axis.slope_high(p, sample);
    for (int32_t j = 0; j < at.count; ++j) {
      const T slope = (j == 0 ? -at.slope : at.slope) / axis.grid;
      tap(AxisTap<T>{
          at.pixel + j, at.weight[j] / axis.grid, slope * (axis.scale - high), slope * high});
    }
  }
}

template <typename T, typename TapFn>
C10_HOST_DEVICE void for_each_tap(
    const SampleAxis<T>& axis, int32_t p, int32_t pixels, TapFn&& tap) {
  for_each_tap_between(axis, p, pixels, T(-1), T(pixels), tap);
}

// As above, for taps of some pixels alone: it may leave out the others, and does not visit samples
// that are far from them. Operators without a sampling grid list few others anyway.
template <typename T, typename TapFn>
C10_HOST_DEVICE void for_each_tap_near(
    const SampleAxis<T>& axis, int32_t p, int32_t pixels, const AxisReach& wanted, TapFn&& tap) {
  for_each_tap_between(axis, p, pixels, T(wanted.first) - T(1), T(wanted.end), tap);
}
template <typename Axis, typename TapFn>
C10_HOST_DEVICE void for_each_tap_near(
    const Axis& axis, int32_t p, int32_t pixels, const AxisReach&, TapFn&& tap) {
  for_each_tap(axis, p, pixels, tap);
}

// Writes the taps of bin p in rising order of pixels and returns how many; `taps` has room for
// max_axis_taps. An axis is any type with these two functions.
template <typename Axis, typename T>
C10_HOST_DEVICE int64_t axis_taps(const Axis& axis, int32_t p, int32_t pixels, AxisTap<T>* taps) {
  int64_t count = 0;
  for_each_tap(
      axis, p, pixels, [&](const AxisTap<T>& tap) { count = merge_tap(taps, count, tap); });
  return count;
}

// The same near some pixels, one by one, where there is no room for a list.
template <typename T, typename Axis, typename TapFn>
C10_HOST_DEVICE void for_each_merged_tap(
    const Axis& axis, int32_t p, int32_t pixels, const AxisReach& wanted, TapFn&& tap) {
  AxisTap<T> pending[2] = {};  // a later tap can still fall on these
  int64_t count = 0;
  for_each_tap_near(axis, p, pixels, wanted, [&](const AxisTap<T>& next) {
    if (count == 2 && next.pixel > pending[1].pixel) {
      tap(pending[0]);
      pending[0] = pending[1];
      count = 1;
    }
    count = merge_tap(pending, count, next);
  });
  for (int64_t i = 0; i < count; ++i) {
    tap(pending[i]);
  }
}

}  // namespace roiops
