// The taps of geometries that are the outer product of two axes. See NOTE [Listers].
#pragma once

#include <utility>
#include <vector>

#include "core/separable.h"
#include "cpu/rois.h"

namespace roiops::cpu {

// What is listed for all bins of one axis: merged taps, or single samples.
template <typename Entry>
struct AxisList {
  std::vector<Entry> entries;
  std::vector<int64_t> start;  // [bins + 1]

  // most(p) is how many entries bin p has at most; write(p, entries) writes and counts them.
  template <typename Most, typename Write>
  void list(int32_t bins, Most&& most, Write&& write) {
    start.assign(int64_t{bins} + 1, 0);
    int64_t room = 0;
    for (int32_t p = 0; p < bins; ++p) {
      room += most(p);
    }
    entries.resize(room);
    for (int32_t p = 0; p < bins; ++p) {
      start[p + 1] = start[p] + write(p, entries.data() + start[p]);
    }
    entries.resize(start[bins]);
  }
  void clear(int32_t bins) {
    start.assign(int64_t{bins} + 1, 0);
    entries.clear();
  }
};

template <typename Axis>
int64_t most_taps(const Axis& axis, int32_t bins, int32_t pixels) {
  int64_t count = 0;
  for (int32_t p = 0; p < bins; ++p) {
    count += max_axis_taps(axis, p, pixels);
  }
  return count;
}

template <typename T, typename Axis>
void list_taps(const Axis& axis, int32_t bins, int32_t pixels, AxisList<AxisTap<T>>& taps) {
  taps.list(
      bins, [&](int32_t p) { return max_axis_taps(axis, p, pixels); },
      [&](int32_t p, AxisTap<T>* to) { return axis_taps(axis, p, pixels, to); });
}

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
      map_width_ = 0;
      return;
    }
    const MapSize map = maps_[roi.level];
    const auto decoded = levels_[roi.level].decode(roi.row, map);
    list_taps(decoded.y, grid_.height, map.height, y_);
    list_taps(decoded.x, grid_.width, map.width, x_);
    map_width_ = map.width;
  }

  // On both axes, without listing them.
  int64_t most_entries(const Roi& roi) const {
    if (roi.level < 0) {
      return 0;
    }
    const MapSize map = maps_[roi.level];
    const auto decoded = levels_[roi.level].decode(roi.row, map);
    return most_taps(decoded.y, grid_.height, map.height) +
           most_taps(decoded.x, grid_.width, map.width);
  }

  MapSize grid() const {
    return grid_;
  }
  int64_t extra_size() const {
    return 0;
  }
  int64_t size(int32_t p) const {
    return (y_.start[p + 1] - y_.start[p]) * static_cast<int64_t>(x_.entries.size());
  }
  const AxisList<AxisTap<T>>& y() const {
    return y_;
  }
  const AxisList<AxisTap<T>>& x() const {
    return x_;
  }
  MapSize map(int32_t level) const {
    return maps_[level];
  }
  int32_t map_width() const {
    return map_width_;
  }

  template <typename TapFn, typename EndFn>
  void visit(int32_t p, TapFn&& tap, EndFn&& end_bin) const {
    for (int32_t q = 0; q < grid_.width; ++q) {
      for (int64_t i = y_.start[p]; i < y_.start[p + 1]; ++i) {
        const int32_t row = y_.entries[i].pixel * map_width_;
        for (int64_t j = x_.start[q]; j < x_.start[q + 1]; ++j) {
          tap(row + x_.entries[j].pixel, SeparableTap<T>{y_.entries[i], x_.entries[j]});
        }
      }
      end_bin();
    }
  }

 private:
  std::vector<Geometry> levels_;
  std::vector<MapSize> maps_;
  MapSize grid_;
  int32_t map_width_ = 0;
  AxisList<AxisTap<T>> y_, x_;
};

}  // namespace roiops::cpu
