// The taps of geometries that are the outer product of two axes. See NOTE [Listers].
#pragma once

#include <utility>
#include <vector>

#include "core/separable.h"
#include "cpu/rois.h"

namespace roiops::cpu {

// A tap and its derivative by the box (x1, y1, x2, y2), as the product of its two axes.
template <typename T>
struct SeparableTap {
  const AxisTap<T>& y;
  const AxisTap<T>& x;

  T weight() const {
    return y.weight * x.weight;
  }
  T tangent(const T* box, const T*) const {
    return (y.slope_low * box[1] + y.slope_high * box[3]) * x.weight +
           y.weight * (x.slope_low * box[0] + x.slope_high * box[2]);
  }
  // A slope of zero adds nothing, even where the map is inf.
  void add_gradient(T product, T* box, T*) const {
    const T slopes[4] = {x.slope_low * y.weight, y.slope_low * x.weight, x.slope_high * y.weight,
        y.slope_high * x.weight};
    for (int i = 0; i < 4; ++i) {
      if (slopes[i] != T(0)) {
        box[i] += product * slopes[i];
      }
    }
  }
};

// Merged taps of all bins of one axis.
template <typename T>
struct AxisTapList {
  std::vector<AxisTap<T>> taps;
  std::vector<int64_t> start;  // [bins + 1]

  template <typename Axis>
  void list(const Axis& axis, int32_t bins, int32_t pixels) {
    start.assign(int64_t{bins} + 1, 0);
    int64_t room = 0;
    for (int32_t p = 0; p < bins; ++p) {
      room += max_axis_taps(axis, p, pixels);
    }
    taps.resize(room);
    for (int32_t p = 0; p < bins; ++p) {
      start[p + 1] = start[p] + axis_taps(axis, p, pixels, taps.data() + start[p]);
    }
    taps.resize(start[bins]);
  }
  void clear(int32_t bins) {
    start.assign(int64_t{bins} + 1, 0);
    taps.clear();
  }
};

template <typename Geometry>
class SeparableTaps {
 public:
  using T = typename Geometry::Scalar;
  static constexpr int kBoxColumns = 4;  // x1, y1, x2, y2

  // One geometry and one map per level.
  SeparableTaps(std::vector<Geometry> levels, std::vector<MapSize> maps)
      : levels_(std::move(levels)), maps_(std::move(maps)), grid_(levels_[0].bins) {}

  void prepare(const Roi& roi) {
    if (roi.level < 0) {
      y_.clear(grid_.height);
      x_.clear(grid_.width);
      return;
    }
    const MapSize map = maps_[roi.level];
    const auto decoded = levels_[roi.level].decode(roi.row, map);
    y_.list(decoded.y, grid_.height, map.height);
    x_.list(decoded.x, grid_.width, map.width);
    map_width_ = map.width;
  }

  int64_t bins() const {
    return int64_t{grid_.height} * grid_.width;
  }
  int64_t extra_size() const {
    return 0;
  }
  int64_t size() const {
    return static_cast<int64_t>(y_.taps.size() * x_.taps.size());
  }

  template <typename TapFn, typename EndFn>
  void visit(TapFn&& tap, EndFn&& end_bin) const {
    for (int32_t p = 0; p < grid_.height; ++p) {
      for (int32_t q = 0; q < grid_.width; ++q) {
        for (int64_t i = y_.start[p]; i < y_.start[p + 1]; ++i) {
          const int32_t row = y_.taps[i].pixel * map_width_;
          for (int64_t j = x_.start[q]; j < x_.start[q + 1]; ++j) {
            tap(row + x_.taps[j].pixel, SeparableTap<T>{y_.taps[i], x_.taps[j]});
          }
        }
        end_bin();
      }
    }
  }

 private:
  std::vector<Geometry> levels_;
  std::vector<MapSize> maps_;
  MapSize grid_;
  int32_t map_width_ = 0;
  AxisTapList<T> y_, x_;
};

}  // namespace roiops::cpu
