// Which pixels of an axis a RoI can read at all: more than it does, never fewer.
#pragma once

#include "core/deform.h"
#include "core/rotated.h"

namespace roiops {

// The pixels around the positions between two ends, which may be reversed. Positions are rounded,
// so their ends are moved by what that can change, and by one pixel.
template <typename T>
C10_HOST_DEVICE AxisReach reach_between(T a, T b, int32_t pixels) {
  const T error = T(8) * kEpsilon<T> * (std::abs(a) + std::abs(b));
  const T low = std::floor((a < b ? a : b) - error) - T(1);
  const T high = std::ceil((a < b ? b : a) + error) + T(2);
  if (!(low < T(pixels) && high > T(0))) {
    return {0, 0};
  }
  return {low > T(0) ? static_cast<int32_t>(low) : 0,
      high < T(pixels) ? static_cast<int32_t>(high) : pixels};
}

template <typename T>
C10_HOST_DEVICE AxisReach reach_of(const SampleAxis<T>& axis, int32_t pixels) {
  return axis.grid >= T(1) ? reach_between(axis.start, axis.start + axis.size, pixels)
                           : AxisReach{0, 0};
}

template <typename T>
C10_HOST_DEVICE AxisReach reach_of(const PixelAxis<T>& axis, int32_t pixels) {
  const T start = T(axis.start);
  return axis.bins > 0 ? reach_between(start, start + T(axis.bins) * axis.bin, pixels)
                       : AxisReach{0, 0};
}

template <typename T>
C10_HOST_DEVICE AxisReach reach_of(const CropAxis<T>& axis, int32_t pixels) {
  return reach_between(axis.position(0), axis.position(axis.bins - 1), pixels);
}

template <typename T>
C10_HOST_DEVICE AxisReach reach_of(const IntegralAxis<T>& axis, int32_t pixels) {
  return axis.bin > T(0) ? reach_between(axis.low(0), axis.low(axis.bins), pixels)
                         : AxisReach{0, 0};
}

// The same for one bin.
template <typename T>
C10_HOST_DEVICE AxisReach bin_reach(const SampleAxis<T>& axis, int32_t p, int32_t pixels) {
  const T start = axis.start + T(p) * axis.bin;
  return axis.grid >= T(1) ? reach_between(start, start + axis.bin, pixels) : AxisReach{0, 0};
}

template <typename T>
C10_HOST_DEVICE AxisReach bin_reach(const PixelAxis<T>& axis, int32_t p, int32_t pixels) {
  const PixelRange range = pixels_of(axis, p, pixels);
  return {range.first, range.first + range.count};
}

template <typename Axis>
C10_HOST_DEVICE MapReach reach_of(const SeparableRoi<Axis>& roi, MapSize map) {
  return {reach_of(roi.y, map.height), reach_of(roi.x, map.width)};
}

template <typename T>
C10_HOST_DEVICE MapReach reach_of(const RotatedRoi<T>& roi, MapSize map) {
  if (!(roi.grid_y >= T(1) && roi.grid_x >= T(1))) {
    return {};
  }
  const T down = (std::abs(roi.height * roi.cosine) + std::abs(roi.width * roi.sine)) / T(2);
  const T across = (std::abs(roi.height * roi.sine) + std::abs(roi.width * roi.cosine)) / T(2);
  return {reach_between(roi.cy - down, roi.cy + down, map.height),
      reach_between(roi.cx - across, roi.cx + across, map.width)};
}

}  // namespace roiops
