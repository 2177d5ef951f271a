// One axis of an op whose bins are whole pixels of a quantised RoI (Fast R-CNN, arXiv:1504.08083,
// section 2.1): roi_pool takes their maximum, ps_roi_pool their mean.
#pragma once

#include "core/axis_taps.h"

namespace roiops {

// NOTE [Floating bin edges]
// Edges are p * (size / bins) in the geometry's type, as in Fast R-CNN and every library since, so
// that trained models give the same bits. Rounding makes a few edges differ by one from exact
// integer division: rows 0..56 over 7 bins read row 57 in float.
template <typename T>
struct PixelAxis {
  int64_t start;  // first pixel of the RoI
  T bin;          // bin size in pixels, > 0
  int32_t bins;   // bins per RoI; 0: the RoI is not finite and has no pixels
};

struct PixelRange {
  int32_t first;
  int32_t count;
};

// Half away from zero, saturated: far beyond any map, and sums stay within 64 bits.
template <typename T>
C10_HOST_DEVICE int64_t round_to_pixel(T position) {
  const T limit = T(int64_t{1} << 31);
  const T inside = position < -limit ? -limit : (position > limit ? limit : position);
  return static_cast<int64_t>(std::round(inside));
}

// extra_pixels: 1 if the high coordinate names the last pixel, 0 if the one behind it.
template <typename T>
C10_HOST_DEVICE PixelAxis<T> pixel_axis(
    T low, T high, int32_t bins, double spatial_scale, int32_t extra_pixels) {
  const T start = low * T(spatial_scale), end = high * T(spatial_scale);
  if (!is_finite(start) || !is_finite(end)) {
    return {0, T(1), 0};
  }
  const int64_t first = round_to_pixel(start);
  const int64_t size = round_to_pixel(end) - first + extra_pixels;
  return {first, T(size > 1 ? size : 1) / T(bins), bins};
}

// The pixels of bin p that lie on the map.
template <typename T>
C10_HOST_DEVICE PixelRange pixels_of(const PixelAxis<T>& axis, int32_t p, int32_t pixels) {
  if (axis.bins == 0) {
    return {0, 0};
  }
  const int64_t low = axis.start + static_cast<int64_t>(std::floor(T(p) * axis.bin));
  const int64_t high = axis.start + static_cast<int64_t>(std::ceil(T(p + 1) * axis.bin));
  const int64_t first = low > 0 ? low : 0;
  const int64_t last = high < pixels ? high : pixels;
  return first < last ? PixelRange{static_cast<int32_t>(first), static_cast<int32_t>(last - first)}
                      : PixelRange{0, 0};
}

template <typename T>
C10_HOST_DEVICE int64_t max_axis_taps(const PixelAxis<T>& axis, int32_t p, int32_t pixels) {
  return pixels_of(axis, p, pixels).count;
}

// The mean of the bin's pixels, which are held constant when the box moves.
template <typename T, typename TapFn>
C10_HOST_DEVICE void for_each_tap(
    const PixelAxis<T>& axis, int32_t p, int32_t pixels, TapFn&& tap) {
  const PixelRange range = pixels_of(axis, p, pixels);
  for (int32_t i = 0; i < range.count; ++i) {
    tap(AxisTap<T>{range.first + i, T(1) / T(range.count), T(0), T(0)});
  }
}

}  // namespace roiops
