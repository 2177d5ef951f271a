// The taps of roi_align_rotated: four per sample, not merged. See NOTE [Listers].
#pragma once

#include <algorithm>

#include "core/rotated.h"
#include "cpu/rois.h"

namespace roiops::cpu {

template <typename T>
struct RotatedTap {
  const RotatedRoi<T>& roi;
  const RotatedSample<T>& sample;
  T value;       // weight
  T by_y, by_x;  // d weight / d (position of the sample)

  T weight() const {
    return value;
  }
  // d weight / d (cx, cy, w, h, angle)
  void slopes(T* slope) const {
    const T across = roi.fixed_width ? T(0) : roi.scale * (sample.u - T(0.5));
    const T down = roi.fixed_height ? T(0) : roi.scale * (sample.t - T(0.5));
    slope[0] = roi.scale * by_x;
    slope[1] = roi.scale * by_y;
    slope[2] = across * (by_x * roi.cosine - by_y * roi.sine);
    slope[3] = down * (by_x * roi.sine + by_y * roi.cosine);
    slope[4] = roi.turn * (by_x * (sample.y - roi.cy) - by_y * (sample.x - roi.cx));
  }
  T tangent(const T* box, const T*) const {
    T slope[5];
    slopes(slope);
    T sum = T(0);
    for (int i = 0; i < 5; ++i) {
      sum += slope[i] * box[i];
    }
    return sum;
  }
  void add_gradient(T product, T* box, T*) const {
    T slope[5];
    slopes(slope);
    for (int i = 0; i < 5; ++i) {
      if (slope[i] != T(0)) {
        box[i] += product * slope[i];
      }
    }
  }
};

template <typename Scalar>
class RotatedTaps {
 public:
  using T = Scalar;
  static constexpr int kBoxColumns = 5;  // cx, cy, w, h, angle

  RotatedTaps(const RotatedOptions<T>& options, MapSize map) : options_(options), map_(map) {}

  void prepare(const Roi& roi) {
    roi_ = rotated_roi(roi.row, options_);
    size_ = 0;
    for_each_row(
        [&](int32_t, int32_t, T, const SampleRange<T>& columns) { size_ += 4 * columns.count; },
        [] {});
  }

  int64_t bins() const {
    return int64_t{options_.bins.height} * options_.bins.width;
  }
  int64_t extra_size() const {
    return 0;
  }
  int64_t size() const {
    return size_;
  }

  template <typename TapFn, typename EndFn>
  void visit(TapFn&& tap, EndFn&& end_bin) const {
    const T count = std::max(roi_.grid_y * roi_.grid_x, T(1));
    for_each_row(
        [&](int32_t p, int32_t q, T i, const SampleRange<T>& columns) {
          for (int64_t j = 0; j < columns.count; ++j) {
            visit_sample(roi_.sample(p, q, i, columns.first + T(j)), count, tap);
          }
        },
        end_bin);
  }

 private:
  // Calls row(p, q, i, columns) for the sample rows i of every bin, and end_bin() after each bin.
  template <typename RowFn, typename EndFn>
  void for_each_row(RowFn&& row, EndFn&& end_bin) const {
    for (int32_t p = 0; p < options_.bins.height; ++p) {
      for (int32_t q = 0; q < options_.bins.width; ++q) {
        const SampleRange<T> rows = roi_.rows(p, map_);
        for (int64_t i = 0; i < rows.count; ++i) {
          const T at = rows.first + T(i);
          row(p, q, at, roi_.columns(p, q, at, map_));
        }
        end_bin();
      }
    }
  }

  template <typename TapFn>
  void visit_sample(const RotatedSample<T>& sample, T count, TapFn& tap) const {
    const BilinearTaps<T> y = bilinear_taps(sample.y, map_.height);
    const BilinearTaps<T> x = bilinear_taps(sample.x, map_.width);
    for (int32_t a = 0; a < y.count; ++a) {
      for (int32_t b = 0; b < x.count; ++b) {
        const T y_slope = a == 0 ? -y.slope : y.slope, x_slope = b == 0 ? -x.slope : x.slope;
        tap((y.pixel + a) * map_.width + x.pixel + b,
            RotatedTap<T>{roi_, sample, y.weight[a] * x.weight[b] / count,
                y_slope * x.weight[b] / count, y.weight[a] * x_slope / count});
      }
    }
  }

  RotatedOptions<T> options_;
  MapSize map_;
  RotatedRoi<T> roi_{};
  int64_t size_ = 0;
};

}  // namespace roiops::cpu
