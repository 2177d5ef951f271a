// The geometry of roi_align_rotated: the sample grid of roi_align, turned about the RoI's centre.
#pragma once

#include "core/separable.h"

namespace roiops {

template <typename T>
struct RotatedOptions {
  SamplingOptions sampling;
  bool clockwise;
  MapSize bins;
};

// A sample: where it lies, and what its position owes to the box.
template <typename T>
struct RotatedSample {
  T y, x;
  T t, u;  // position within the box, 0 to 1 down and across
};

template <typename T>
struct RotatedRoi {
  T cy, cx, height, width;  // in feature-map pixels
  T cosine, sine;
  T turn;  // sign of the angle
  T scale;
  T grid_y, grid_x;  // samples per bin
  MapSize bins;
  bool fixed_height, fixed_width;  // minimum size active

  C10_HOST_DEVICE RotatedSample<T> sample(int32_t p, int32_t q, T i, T j) const {
    const T t = (T(p) + (i + T(0.5)) / grid_y) / T(bins.height);
    const T u = (T(q) + (j + T(0.5)) / grid_x) / T(bins.width);
    const T yy = (t - T(0.5)) * height, xx = (u - T(0.5)) * width;
    return {yy * cosine - xx * sine + cy, yy * sine + xx * cosine + cx, t, u};
  }

  // Rows i of samples that can touch some pixels: their corners, seen from the box.
  C10_HOST_DEVICE SampleRange<T> rows(int32_t p, const MapReach& pixels) const {
    T low = T(0), high = T(0);
    for (int corner = 0; corner < 4; ++corner) {
      const T y = T(corner & 1 ? pixels.y.end : pixels.y.first - 1) - cy;
      const T x = T(corner & 2 ? pixels.x.end : pixels.x.first - 1) - cx;
      const T yy = y * cosine + x * sine;
      low = corner == 0 || yy < low ? yy : low;
      high = corner == 0 || yy > high ? yy : high;
    }
    const T bin = height / T(bins.height);
    return clip_samples(T(p) * bin - height / T(2), bin / grid_y, grid_y, low, high).range();
  }

  // Samples j of row i that can touch them: a line through a rectangle.
  C10_HOST_DEVICE SampleRange<T> columns(int32_t p, int32_t q, T i, const MapReach& pixels) const {
    const RotatedSample<T> start = sample(p, q, i, T(-0.5));
    const T step = width / T(bins.width) / grid_x;
    const SampleInterval<T> by_y =
        clip_samples(start.y, -step * sine, grid_x, T(pixels.y.first - 1), T(pixels.y.end));
    const SampleInterval<T> by_x =
        clip_samples(start.x, step * cosine, grid_x, T(pixels.x.first - 1), T(pixels.x.end));
    return by_y.common(by_x).range();
  }

  // Calls tap(y, x, RotatedTap) for the pixels that a sample reads.
  template <typename TapFn>
  C10_HOST_DEVICE void for_each_tap(const RotatedSample<T>& sample, MapSize map, TapFn&& tap) const;
};

// A pixel that a sample reads.
template <typename T>
struct RotatedTap {
  const RotatedRoi<T>& roi;
  const RotatedSample<T>& sample;
  T value;       // weight
  T by_y, by_x;  // d weight / d (position of the sample)

  C10_HOST_DEVICE T weight() const {
    return value;
  }
  // d weight / d (cx, cy, w, h, angle)
  C10_HOST_DEVICE void slopes(T* slope) const {
    const T across = roi.fixed_width ? T(0) : roi.scale * (sample.u - T(0.5));
    const T down = roi.fixed_height ? T(0) : roi.scale * (sample.t - T(0.5));
    slope[0] = roi.scale * by_x;
    slope[1] = roi.scale * by_y;
    slope[2] = across * (by_x * roi.cosine - by_y * roi.sine);
    slope[3] = down * (by_x * roi.sine + by_y * roi.cosine);
    slope[4] = roi.turn * (by_x * (sample.y - roi.cy) - by_y * (sample.x - roi.cx));
  }
  C10_HOST_DEVICE T tangent(const T* box, const T*) const {
    T slope[5];
    slopes(slope);
    T sum = T(0);
    for (int i = 0; i < 5; ++i) {
      sum += slope[i] * box[i];
    }
    return sum;
  }
  C10_HOST_DEVICE void add_gradient(T product, T* box, T*) const {
    T slope[5];
    slopes(slope);
    for (int i = 0; i < 5; ++i) {
      if (slope[i] != T(0)) {
        box[i] += product * slope[i];
      }
    }
  }
};

template <typename T>
template <typename TapFn>
C10_HOST_DEVICE void RotatedRoi<T>::for_each_tap(
    const RotatedSample<T>& sample, MapSize map, TapFn&& tap) const {
  const T samples = grid_y * grid_x;
  const T count = samples > T(1) ? samples : T(1);
  const BilinearTaps<T> ys = bilinear_taps(sample.y, map.height);
  const BilinearTaps<T> xs = bilinear_taps(sample.x, map.width);
  for (int32_t a = 0; a < ys.count; ++a) {
    for (int32_t b = 0; b < xs.count; ++b) {
      const T y_slope = a == 0 ? -ys.slope : ys.slope, x_slope = b == 0 ? -xs.slope : xs.slope;
      tap(ys.pixel + a, xs.pixel + b,
          RotatedTap<T>{*this, sample, ys.weight[a] * xs.weight[b] / count,
              y_slope * xs.weight[b] / count, ys.weight[a] * x_slope / count});
    }
  }
}

// roi = (image, cx, cy, w, h, angle in radians)
template <typename T>
C10_HOST_DEVICE RotatedRoi<T> rotated_roi(const double* roi, const RotatedOptions<T>& options) {
  const SamplingOptions& sampling = options.sampling;
  const T scale = T(sampling.spatial_scale);
  const T offset = sampling.aligned ? T(0.5) : T(0);
  RotatedRoi<T> r;
  r.cx = T(roi[1]) * scale - offset;
  r.cy = T(roi[2]) * scale - offset;
  r.width = T(roi[3]) * scale;
  r.height = T(roi[4]) * scale;
  const T angle = options.clockwise ? -T(roi[5]) : T(roi[5]);
  const bool finite = is_finite(r.cx) && is_finite(r.cy) && is_finite(r.width) &&
                      is_finite(r.height) && is_finite(angle);
  r.fixed_width = !sampling.aligned && r.width < T(1);
  r.fixed_height = !sampling.aligned && r.height < T(1);
  r.width = r.fixed_width ? T(1) : r.width;
  r.height = r.fixed_height ? T(1) : r.height;
  r.cosine = std::cos(angle);
  r.sine = std::sin(angle);
  r.turn = options.clockwise ? T(-1) : T(1);
  r.scale = scale;
  r.bins = options.bins;
  const T ratio = T(sampling.sampling_ratio);
  r.grid_y = ratio > T(0) ? ratio : T(std::ceil(r.height / T(r.bins.height)));
  r.grid_x = ratio > T(0) ? ratio : T(std::ceil(r.width / T(r.bins.width)));
  if (!finite) {
    r.grid_y = r.grid_x = T(0);
  }
  return r;
}

}  // namespace roiops
