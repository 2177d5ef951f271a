// All RoIs' axes, where taps are the product of two axes: a RoI takes O(height + width) of its map.
// A chunk at a time: see NOTE [Chunks].
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "cpu/roi_chunks.h"
#include "cpu/scratch.h"
#include "cpu/separable_taps.h"
#include "cpu/types.h"

namespace roiops::cpu {

template <typename T>
struct AxisChunk : RoiChunk {
  const RoiAxes<T>* axes;  // [end - begin]
  MapSize map;             // of level 0

  const RoiAxes<T>& of(int64_t at) const {
    return axes[at - begin];
  }
  // Some rows of its bins.
  RoiAxes<T> part(int64_t at, int64_t p, int64_t rows) const {
    return of(at).part(p, rows, 0, grid.width);
  }
  PixelSpan span(int64_t at) const {
    const AxisBins<T>& y = of(at).y;
    const AxisBins<T>& x = of(at).x;
    if (y.first >= y.end || x.first >= x.end) {
      return {};
    }
    const int64_t width = of(at).width;
    return {static_cast<int32_t>(y.first * width + x.first),
        static_cast<int32_t>((y.end - 1) * width + x.end)};
  }
  // Of RoIs [first, last).
  int64_t tap_count(int64_t first, int64_t last) const {
    const auto of_axis = [](const AxisBins<T>& axis) {
      return axis.stop[axis.bins - 1] - axis.start[0];
    };
    int64_t count = 0;
    for (int64_t at = first; at < last; ++at) {
      count += of_axis(of(at).y) * of_axis(of(at).x);
    }
    return count;
  }
};

template <typename Taps>
inline constexpr bool kSeparable = false;
template <typename Geometry>
inline constexpr bool kSeparable<SeparableTaps<Geometry>> = true;

template <typename Geometry>
class AxisPlan {
 public:
  using Taps = SeparableTaps<Geometry>;
  using T = typename Taps::T;

  AxisPlan(const Taps& lister, const RoiList& rois)
      : prototype_(lister),
        chunks_(rois, 1, starts(lister), kRoiGrain,
            [&](const std::vector<int64_t>& order, int64_t begin, int64_t end, int64_t* sizes) {
              for (int64_t at = begin; at < end; ++at) {
                sizes[at] = lister.most_entries(rois[order[at]]);
              }
            }) {}

  int64_t chunks() const {
    return chunks_.count();
  }

  // Calls body(chunk) for each chunk in order.
  template <typename Body>
  void for_each_chunk(Body&& body) const {
    const MapSize grid = prototype_.grid();
    const int64_t starts = AxisPlan::starts(prototype_);
    for (int64_t c = 0; c < chunks(); ++c) {
      const int64_t begin = chunks_.begin(c), end = chunks_.begin(c + 1);
      const Scratch<Tap<T>> taps(chunks_.offset(end) - chunks_.offset(begin));
      const Scratch<int64_t> start((end - begin) * starts);
      std::vector<RoiAxes<T>> axes(end - begin);
      parallel_for(
          end - begin,
          [&](int64_t first, int64_t last) {
            Taps lister = prototype_;
            for (int64_t i = first; i < last; ++i) {
              lister.prepare(chunks_.rois()[chunks_.order()[begin + i]]);
              Tap<T>* const to = taps.get() + chunks_.offset(begin + i) - chunks_.offset(begin);
              int64_t* const at = start.get() + i * starts;
              axes[i].y = copy(lister.y(), to, at);
              axes[i].x = copy(lister.x(), to + lister.y().entries.size(), at + grid.height + 1);
              axes[i].bins = int64_t{grid.height} * grid.width;
              axes[i].width = lister.map_width();
            }
          },
          kRoiGrain);
      body(AxisChunk<T>{{c, grid, chunks_, begin, end}, axes.data(), prototype_.map(0)});
    }
  }

 private:
  // Of the bins of both axes.
  static int64_t starts(const Taps& lister) {
    return int64_t{lister.grid().height} + 1 + lister.grid().width + 1;
  }
  static AxisBins<T> copy(const AxisList<AxisTap<T>>& axis, Tap<T>* taps, int64_t* start) {
    PixelSpan span;
    for (size_t i = 0; i < axis.entries.size(); ++i) {
      taps[i] = {axis.entries[i].pixel, axis.entries[i].weight};
      span.add(axis.entries[i].pixel);
    }
    std::copy(axis.start.begin(), axis.start.end(), start);
    const auto bins = static_cast<int64_t>(axis.start.size()) - 1;
    return {{bins, start, start + 1, taps}, span.pixels() > 0 ? span.first : 0, span.end};
  }

  Taps prototype_;
  RoiChunks chunks_;
};

}  // namespace roiops::cpu
