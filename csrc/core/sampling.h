// One axis of a bilinear RoI op: where the samples of a bin lie, and which pixels a sample reads.
//
// NOTE [One axis]
// Every rule of semantics.md that concerns a coordinate (decoding, minimum size, sample grid,
// border, NaN, derivative) stands here once and is called for y and for x. Host and device code
// include this file; it knows no tensor, no channel and no direction.
//
// NOTE [Order of operations]
// In adaptive mode `ceil` turns a last-bit difference of the bin size into another sample grid.
// These expressions therefore keep torchvision's order, and the build forbids contracting them
// into fused multiply-adds.
#pragma once

#include <cmath>
#include <cstdint>

#include <c10/macros/Macros.h>

namespace roiops {

// Pixels and weights that bilinear interpolation reads at one position of an axis.
template <typename T>
struct BilinearTaps {
  int32_t pixel = 0;     // first pixel; the second, if any, is pixel + 1
  int32_t count = 0;     // 0: rejected, 1: clamped to the last pixel, 2: interpolated
  T weight[2] = {0, 0};  // weight of each pixel
  T slope = 0;           // d weight[1] / d position = -d weight[0] / d position
};

// Outside [-1, pixels] or NaN: no tap. Written as "not inside" because NaN fails every comparison.
// Between the border and one pixel beyond, the position is clamped and does not move the value.
template <typename T>
C10_HOST_DEVICE BilinearTaps<T> bilinear_taps(T position, int32_t pixels) {
  if (pixels <= 0 || !(position >= T(-1) && position <= T(pixels))) {
    return {};
  }
  const T inside = position > T(0) ? position : T(0);
  if (!(inside < T(pixels - 1))) {
    return {pixels - 1, 1, {T(1), T(0)}, T(0)};
  }
  const auto pixel = static_cast<int32_t>(inside);
  const T high = inside - T(pixel);
  return {pixel, 2, {T(1) - high, high}, position < T(0) ? T(0) : T(1)};
}

// What a caller asks of every sampling op.
struct SamplingOptions {
  double spatial_scale;    // image coordinates -> feature-map pixels, > 0
  int32_t sampling_ratio;  // samples per bin and axis; <= 0: one per feature-map pixel, rounded up
  bool aligned;            // true: pixel centres lie at integer + 0.5, and no minimum size
};

// The samples of one RoI along one axis, in feature-map pixels.
template <typename T>
struct SampleAxis {
  T start;          // of the RoI
  T size;           // of the RoI; negative for a reversed box
  T bin;            // bin size
  T grid;           // samples per bin, a whole number that may exceed every integer; <= 0: none
  T scale;          // d (feature coordinate) / d (image coordinate)
  T shift;          // of the bin, in units of the RoI's size; part of start
  int32_t bins;     // bins per RoI
  bool fixed_size;  // minimum size active: the high coordinate has no influence

  C10_HOST_DEVICE T position(int32_t p, T sample) const {
    return start + T(p) * bin + (sample + T(0.5)) * bin / grid;
  }
  // d position / d (high coordinate); the low coordinate has the rest, scale - slope_high.
  C10_HOST_DEVICE T slope_high(int32_t p, T sample) const {
    return fixed_size ? T(0) : scale * ((T(p) + (sample + T(0.5)) / grid) / T(bins) + shift);
  }
};

template <typename T>
C10_HOST_DEVICE bool is_finite(T value) {
  return value - value == T(0);
}

// Low and high are the RoI's image coordinates on this axis. Geometry that is not finite has no
// sample: such a RoI gives zeros and no gradient.
template <typename T>
C10_HOST_DEVICE SampleAxis<T> sample_axis(
    T low, T high, int32_t bins, const SamplingOptions& options) {
  const T scale = T(options.spatial_scale);
  const T offset = options.aligned ? T(0.5) : T(0);
  const T start = low * scale - offset;
  T size = (high * scale - offset) - start;
  const bool finite = is_finite(start) && is_finite(size);
  const bool fixed_size = !options.aligned && size < T(1);
  if (fixed_size) {
    size = T(1);
  }
  const T bin = size / T(bins);
  const T grid = options.sampling_ratio > 0 ? T(options.sampling_ratio) : T(std::ceil(bin));
  return {start, size, bin, finite ? grid : T(0), scale, T(0), bins, fixed_size};
}

// The spacing of numbers near one, rounded up.
template <typename T>
inline constexpr T kEpsilon = sizeof(T) == sizeof(double) ? T(2.3e-16) : T(1.2e-7);

// Consecutive samples of one bin.
template <typename T>
struct SampleRange {
  T first;
  int64_t count;
};

// The same by its ends, empty where last < first: of samples that lie on one another there may be
// more than an integer can count.
template <typename T>
struct SampleInterval {
  T first, last;

  C10_HOST_DEVICE SampleInterval common(const SampleInterval& other) const {
    return {first > other.first ? first : other.first, last < other.last ? last : other.last};
  }
  C10_HOST_DEVICE SampleRange<T> range() const {
    const T count = last - first + T(1);
    return {first, count >= T(1) ? static_cast<int64_t>(count) : 0};
  }
};

// The indices in [0, count) at which base + (index + 0.5) * step may lie in [low, high] once it is
// rounded: whoever reads the map still tests each position. Widened by one sample, and by the
// samples that a position's rounding error spans; no more than kMaxSlack, so that a box far beyond
// the map, whose samples weigh nothing, costs nothing either.
template <typename T>
C10_HOST_DEVICE SampleInterval<T> clip_samples(T base, T step, T count, T low, T high) {
  constexpr T kMaxSlack = 1024;
  if (!(count >= T(1)) || !is_finite(base)) {
    return {T(0), T(-1)};
  }
  T first = T(0);
  T last = count - T(1);
  if (step != T(0)) {
    const T error = T(4) * kEpsilon<T> * (std::abs(base) + std::abs(low) + std::abs(high));
    const T spanned = error / std::abs(step);
    const T slack = T(1) + (spanned < kMaxSlack ? std::ceil(spanned) : kMaxSlack);
    const T at_low = (low - base) / step - T(0.5);
    const T at_high = (high - base) / step - T(0.5);
    const T enter = std::floor(step > T(0) ? at_low : at_high) - slack;
    const T leave = std::ceil(step > T(0) ? at_high : at_low) + slack;
    first = enter > first ? enter : first;
    last = leave < last ? leave : last;
  }
  return {first, last};
}

// The samples of bin p that may lie between two positions of the map.
template <typename T>
C10_HOST_DEVICE SampleRange<T> samples_between(
    const SampleAxis<T>& axis, int32_t p, int32_t pixels, T low, T high) {
  const T count = pixels > 0 ? axis.grid : T(0);
  return clip_samples(axis.start + T(p) * axis.bin, axis.bin / axis.grid, count, low, high).range();
}

// The samples of bin p that can touch the map: an interval, because positions are affine in the
// sample index. Adaptive spacing exceeds half a pixel unless one sample covers the bin, so their
// number is O(pixels) for any box; with a fixed ratio it is at most the ratio.
template <typename T>
C10_HOST_DEVICE SampleRange<T> accepted_samples(
    const SampleAxis<T>& axis, int32_t p, int32_t pixels) {
  return samples_between(axis, p, pixels, T(-1), T(pixels));
}

}  // namespace roiops
