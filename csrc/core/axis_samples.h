// The samples of a bin on one axis, one by one: for operators that take the maximum of their
// samples, where merging is not allowed.
#pragma once

#include "core/axis_taps.h"
#include "core/pixel_bins.h"

namespace roiops {

// A sample's taps on one axis; a sample of the map has the product of two such lists.
template <typename T>
struct AxisSample {
  AxisTap<T> tap[2];
  int32_t count;
};

template <typename T>
C10_HOST_DEVICE int64_t max_axis_samples(const SampleAxis<T>& axis, int32_t p, int32_t pixels) {
  return accepted_samples(axis, p, pixels).count;
}

// Writes the accepted samples of bin p in scan order and returns how many.
template <typename T>
C10_HOST_DEVICE int64_t axis_samples(
    const SampleAxis<T>& axis, int32_t p, int32_t pixels, AxisSample<T>* samples) {
  const SampleRange<T> range = accepted_samples(axis, p, pixels);
  int64_t count = 0;
  for (int64_t i = 0; i < range.count; ++i) {
    const T number = range.first + T(i);
    const BilinearTaps<T> at = bilinear_taps(axis.position(p, number), pixels);
    const T high = axis.slope_high(p, number);
    AxisSample<T> sample{{}, at.count};
    for (int32_t j = 0; j < at.count; ++j) {
      const T slope = j == 0 ? -at.slope : at.slope;
      sample.tap[j] = {at.pixel + j, at.weight[j], slope * (axis.scale - high), slope * high};
    }
    if (at.count > 0) {
      samples[count++] = sample;
    }
  }
  return count;
}

template <typename T>
C10_HOST_DEVICE int64_t max_axis_samples(const PixelAxis<T>& axis, int32_t p, int32_t pixels) {
  return pixels_of(axis, p, pixels).count;
}

// Every pixel is a sample.
template <typename T>
C10_HOST_DEVICE int64_t axis_samples(
    const PixelAxis<T>& axis, int32_t p, int32_t pixels, AxisSample<T>* samples) {
  const PixelRange range = pixels_of(axis, p, pixels);
  for (int32_t i = 0; i < range.count; ++i) {
    samples[i] = {{{range.first + i, T(1), T(0), T(0)}, {}}, 1};
  }
  return range.count;
}

}  // namespace roiops
