// The taps of one RoI at a time, for geometries whose taps are the outer product of two axes.
#pragma once

#include <vector>

#include "core/axis_taps.h"

namespace roiops::cpu {

// A tap and its derivative by the box, as the product of its two axes.
template <typename T>
struct SeparableTap {
  const AxisTap<T>& y;
  const AxisTap<T>& x;

  T weight() const {
    return y.weight * x.weight;
  }
  // The derivative of the weight when the box moves by box = (x1, y1, x2, y2).
  T tangent(const T* box) const {
    return (y.slope_low * box[1] + y.slope_high * box[3]) * x.weight +
           y.weight * (x.slope_low * box[0] + x.slope_high * box[2]);
  }
  // Adds product * (d weight / d box). A slope of zero adds nothing, even where the map is inf.
  void add_gradient(T product, T* box) const {
    const T slopes[4] = {x.slope_low * y.weight, y.slope_low * x.weight, x.slope_high * y.weight,
        y.slope_high * x.weight};
    for (int i = 0; i < 4; ++i) {
      if (slopes[i] != T(0)) {
        box[i] += product * slopes[i];
      }
    }
  }
};

// Holds the merged taps of the RoI that was last prepared; its buffers are reused.
template <typename Geometry>
class SeparableTaps {
 public:
  using T = typename Geometry::Scalar;
  static constexpr int kBoxColumns = 4;  // x1, y1, x2, y2 follow the image column

  explicit SeparableTaps(const Geometry& geometry) : geometry_(geometry) {}

  void prepare(const double* roi) {
    const SeparableRoi<T> decoded = geometry_.decode(roi);
    list(decoded.y, geometry_.height, y_);
    list(decoded.x, geometry_.width, x_);
  }

  int64_t bins() const {
    return int64_t{geometry_.bin_rows} * geometry_.bin_columns;
  }
  int64_t size() const {
    return static_cast<int64_t>(y_.taps.size() * x_.taps.size());
  }

  // Calls tap(pixel, SeparableTap) for every tap, bin by bin, and end_bin() after each bin.
  template <typename TapFn, typename EndFn>
  void visit(TapFn&& tap, EndFn&& end_bin) const {
    for (int32_t p = 0; p < geometry_.bin_rows; ++p) {
      for (int32_t q = 0; q < geometry_.bin_columns; ++q) {
        for (int64_t i = y_.start[p]; i < y_.start[p + 1]; ++i) {
          const int32_t row = y_.taps[i].pixel * geometry_.width;
          for (int64_t j = x_.start[q]; j < x_.start[q + 1]; ++j) {
            tap(row + x_.taps[j].pixel, SeparableTap<T>{y_.taps[i], x_.taps[j]});
          }
        }
        end_bin();
      }
    }
  }

 private:
  struct Axis {
    std::vector<AxisTap<T>> taps;
    std::vector<int64_t> start;  // [bins + 1]
  };

  static void list(const SampleAxis<T>& samples, int32_t pixels, Axis& axis) {
    axis.start.assign(samples.bins + 1, 0);
    int64_t room = 0;
    for (int32_t p = 0; p < samples.bins; ++p) {
      room += max_axis_taps(samples, p, pixels);
    }
    axis.taps.resize(room);
    for (int32_t p = 0; p < samples.bins; ++p) {
      const int64_t at = axis.start[p];
      axis.start[p + 1] = at + axis_taps(samples, p, pixels, axis.taps.data() + at);
    }
    axis.taps.resize(axis.start[samples.bins]);
  }

  Geometry geometry_;
  Axis y_, x_;
};

}  // namespace roiops::cpu
