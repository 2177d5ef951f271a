// The taps of one RoI at a time, listed by a block for its threads.
//
// NOTE [Block taps]
// What NOTE [Listers] is to the CPU engine: one class per kind of geometry, with
//   Shared, share(arena)            what a block keeps of the RoI
//   prepare(context, s, roi, part)  phases that list the RoI's taps for the bins and pixels of part
//   visit(s, p, q, pixels, tap)     calls tap(y, x, t) for the taps of bin (p, q) on these pixels,
//                                   the part's, in a fixed order, and for some others
//   reach(roi)                      which pixels the RoI can read
// where t.weight(), t.tangent(box, extra) and t.add_gradient(product, box, extra) are those of the
// CPU engine, extra being the bin's own two numbers.
#pragma once

#include "core/reach.h"
#include "cuda/context.h"
#include "cuda/roi_table.h"

namespace roiops::cuda {

// Which bins, rows of whole ones, and which pixels a block is about to visit.
struct Part {
  int32_t first_row, rows;
  MapReach pixels;
};

template <typename Geometry>
struct SeparableBlockTaps {
  using T = typename Geometry::Scalar;
  using Axis = typename Geometry::Axis;
  static constexpr int kBoxColumns = 4;  // x1, y1, x2, y2
  static constexpr int kExtra = 0;

  Geometry geometry[kMaxLevels];
  MapSize map[kMaxLevels];
  MapSize grid;
  int32_t rows;      // rows of bins that a block lists at most
  int32_t capacity;  // taps per axis and bin that fit; a RoI with more has its taps computed anew

  struct State {
    SeparableRoi<Axis> roi;
    int32_t level, first_row;
    int32_t listed;  // do all taps fit?
  };
  struct Shared {
    State* state;
    AxisTap<T>* taps;  // [slots, capacity + 1]
    int32_t* count;    // [slots]
  };

  C10_HOST_DEVICE int32_t slots() const {
    return capacity > 0 ? rows + grid.width : 0;
  }
  C10_HOST_DEVICE Shared share(Arena& arena) const {
    return {arena.take<State>(1), arena.take<AxisTap<T>>(int64_t{slots()} * (capacity + 1)),
        arena.take<int32_t>(slots())};
  }

  template <typename Context>
  C10_HOST_DEVICE void prepare(
      Context& context, const Shared& s, const Roi* roi, const Part& part) const {
    context.phase([&](int32_t thread) {
      if (thread == 0) {
        s.state->level = roi->level;
        s.state->first_row = part.first_row;
        s.state->listed = capacity > 0 ? 1 : 0;
        if (roi->level >= 0) {
          s.state->roi = geometry[roi->level].decode(roi->row, map[roi->level]);
        }
      }
    });
    if (s.state->level < 0 || capacity == 0) {
      return;
    }
    context.phase([&](int32_t thread) {
      const MapSize size = map[s.state->level];
      for (int32_t slot = thread; slot < part.rows + grid.width; slot += context.threads) {
        const bool fits = slot < part.rows ? list(s.state->roi.y, part.first_row + slot,
                                                 size.height, part.pixels.y, slot, s)
                                           : list(s.state->roi.x, slot - part.rows, size.width,
                                                 part.pixels.x, rows + slot - part.rows, s);
        if (!fits) {
          s.state->listed = 0;  // every writer writes the same
        }
      }
    });
  }

  template <typename TapFn>
  C10_HOST_DEVICE void visit(
      const Shared& s, int32_t p, int32_t q, const MapReach& pixels, TapFn&& tap) const {
    const State& state = *s.state;
    if (state.level < 0) {
      return;
    }
    if (!state.listed) {
      const MapSize size = map[state.level];
      for_each_merged_tap<T>(state.roi.y, p, size.height, pixels.y, [&](const AxisTap<T>& y) {
        for_each_merged_tap<T>(state.roi.x, q, size.width, pixels.x,
            [&](const AxisTap<T>& x) { tap(y.pixel, x.pixel, SeparableTap<T>{y, x}); });
      });
      return;
    }
    const int32_t row = p - state.first_row, column = rows + q;
    const AxisTap<T>* const ys = s.taps + int64_t{row} * (capacity + 1);
    const AxisTap<T>* const xs = s.taps + int64_t{column} * (capacity + 1);
    const int32_t y_count = s.count[row], x_count = s.count[column];
    for (int32_t i = 0; i < y_count; ++i) {
      for (int32_t j = 0; j < x_count; ++j) {
        tap(ys[i].pixel, xs[j].pixel, SeparableTap<T>{ys[i], xs[j]});
      }
    }
  }

  C10_HOST_DEVICE MapReach reach(const Roi& roi) const {
    if (roi.level < 0) {
      return {};
    }
    const MapSize size = map[roi.level];
    return reach_of(geometry[roi.level].decode(roi.row, size), size);
  }

 private:
  C10_HOST_DEVICE bool list(const Axis& axis, int32_t p, int32_t pixels, const AxisReach& wanted,
      int32_t slot, const Shared& s) const {
    AxisTap<T>* const taps = s.taps + int64_t{slot} * (capacity + 1);
    int64_t count = 0;
    for_each_tap_near(axis, p, pixels, wanted, [&](const AxisTap<T>& tap) {
      if (count <= capacity && wanted.contains(tap.pixel)) {
        count = merge_tap(taps, count, tap);
      }
    });
    s.count[slot] = static_cast<int32_t>(count);
    return count <= capacity;
  }
};

template <typename Scalar>
struct RotatedBlockTaps {
  using T = Scalar;
  static constexpr int kBoxColumns = 5;  // cx, cy, w, h, angle
  static constexpr int kExtra = 0;

  RotatedOptions<T> options;
  MapSize map[1];
  MapSize grid;

  struct Shared {
    RotatedRoi<T>* roi;
  };

  C10_HOST_DEVICE Shared share(Arena& arena) const {
    return {arena.take<RotatedRoi<T>>(1)};
  }

  template <typename Context>
  C10_HOST_DEVICE void prepare(
      Context& context, const Shared& s, const Roi* roi, const Part&) const {
    context.phase([&](int32_t thread) {
      if (thread == 0) {
        *s.roi = decode(*roi);
      }
    });
  }

  template <typename TapFn>
  C10_HOST_DEVICE void visit(
      const Shared& s, int32_t p, int32_t q, const MapReach& pixels, TapFn&& tap) const {
    const RotatedRoi<T>& roi = *s.roi;
    const SampleRange<T> rows = roi.rows(p, pixels);
    for (int64_t i = 0; i < rows.count; ++i) {
      const T row = rows.first + T(i);
      const SampleRange<T> columns = roi.columns(p, q, row, pixels);
      for (int64_t j = 0; j < columns.count; ++j) {
        roi.for_each_tap(roi.sample(p, q, row, columns.first + T(j)), map[0], tap);
      }
    }
  }

  C10_HOST_DEVICE MapReach reach(const Roi& roi) const {
    return reach_of(decode(roi), map[0]);
  }

 private:
  // A RoI without an image has no sample.
  C10_HOST_DEVICE RotatedRoi<T> decode(const Roi& roi) const {
    RotatedRoi<T> decoded = rotated_roi(roi.row, options);
    if (roi.level < 0) {
      decoded.grid_y = decoded.grid_x = T(0);
    }
    return decoded;
  }
};

template <typename Scalar>
struct DeformBlockTaps {
  using T = Scalar;
  static constexpr int kBoxColumns = 4;
  static constexpr int kExtra = 2;  // the bin's offset: x, y

  RoiAlignGeometry<T> geometry;
  MapSize map[1];
  MapSize grid;
  const T* offset;  // [K, 2, PH, PW] or null
  T gamma;

  struct Shared {
    SeparableRoi<SampleAxis<T>>* roi;
    const T** offset;  // of the RoI
  };

  C10_HOST_DEVICE Shared share(Arena& arena) const {
    return {arena.take<SeparableRoi<SampleAxis<T>>>(1), arena.take<const T*>(1)};
  }

  template <typename Context>
  C10_HOST_DEVICE void prepare(
      Context& context, const Shared& s, const Roi* roi, const Part&) const {
    context.phase([&](int32_t thread) {
      if (thread == 0) {
        *s.roi = decode(*roi);
        *s.offset = offset_of(*roi);
      }
    });
  }

  template <typename TapFn>
  C10_HOST_DEVICE void visit(
      const Shared& s, int32_t p, int32_t q, const MapReach& pixels, TapFn&& tap) const {
    const auto bin = moved_bin(*s.roi, *s.offset, p, q);
    const DeformStep<T> step = deform_step(*s.roi, gamma);
    for_each_merged_tap<T>(bin.y, p, map[0].height, pixels.y, [&](const AxisTap<T>& y) {
      for_each_merged_tap<T>(bin.x, q, map[0].width, pixels.x, [&](const AxisTap<T>& x) {
        tap(y.pixel, x.pixel, DeformTap<T>{{y, x}, step, offset ? 0 : -1, 1});
      });
    });
  }

  C10_HOST_DEVICE MapReach reach(const Roi& roi) const {
    const auto decoded = decode(roi);
    MapReach whole = reach_of(decoded, map[0]);
    const int32_t bins = offset ? grid.height * grid.width : 0;
    for (int32_t b = 0; b < bins; ++b) {
      const auto bin = moved_bin(decoded, offset_of(roi), b / grid.width, b % grid.width);
      const MapReach one = reach_of(bin, map[0]);
      if (!one.empty()) {
        whole = whole.empty() ? one : join(whole, one);
      }
    }
    return whole;
  }

 private:
  C10_HOST_DEVICE SeparableRoi<SampleAxis<T>> decode(const Roi& roi) const {
    auto decoded = geometry.decode(roi.row, map[0]);
    if (roi.level < 0) {
      decoded.y.grid = decoded.x.grid = T(0);
    }
    return decoded;
  }
  C10_HOST_DEVICE const T* offset_of(const Roi& roi) const {
    return offset ? offset + roi.number * 2 * grid.height * grid.width : nullptr;
  }
  C10_HOST_DEVICE SeparableRoi<SampleAxis<T>> moved_bin(
      const SeparableRoi<SampleAxis<T>>& roi, const T* offset, int32_t p, int32_t q) const {
    const int64_t bins = int64_t{grid.height} * grid.width, bin = int64_t{p} * grid.width + q;
    return {moved(roi.y, offset ? gamma * offset[bins + bin] : T(0)),
        moved(roi.x, offset ? gamma * offset[bin] : T(0))};
  }
  C10_HOST_DEVICE static MapReach join(const MapReach& a, const MapReach& b) {
    const auto join_axis = [](const AxisReach& u, const AxisReach& v) {
      return AxisReach{u.first < v.first ? u.first : v.first, u.end > v.end ? u.end : v.end};
    };
    return {join_axis(a.y, b.y), join_axis(a.x, b.x)};
  }
};

}  // namespace roiops::cuda
