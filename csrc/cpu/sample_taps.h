// The samples of RoIs, one by one, for operators that take their maximum.
#pragma once

#include <utility>
#include <vector>

#include "core/winner.h"
#include "cpu/max_engine.h"
#include "cpu/roi_chunks.h"
#include "cpu/separable_taps.h"

namespace roiops::cpu {

// The listed samples of one RoI.
template <typename T>
struct SampleLists {
  AxisList<AxisSample<T>> y, x;

  int64_t size() const {
    return static_cast<int64_t>(y.entries.size() + x.entries.size());
  }
};

template <typename Geometry>
class SampleTaps {
 public:
  using T = typename Geometry::Scalar;
  static constexpr int kBoxColumns = 4;
  // Whole pixels are named by their position in the plane, as torchvision's argmax.
  static constexpr bool kPixels = kNamesPixels<Geometry>;

  SampleTaps(const Geometry& geometry, MapSize map) : geometry_(geometry), map_(map) {}

  MapSize bins() const {
    return geometry_.bins;
  }
  void list(const Roi& roi, SampleLists<T>& lists) const {
    const auto decoded = geometry_.decode(roi.row, map_);
    list(decoded.y, geometry_.bins.height, map_.height, lists.y);
    list(decoded.x, geometry_.bins.width, map_.width, lists.x);
  }
  RoiSamples<T> samples(const SampleLists<T>& lists) const {
    return {{geometry_.bins.height, lists.y.start.data(), lists.y.entries.data()},
        {geometry_.bins.width, lists.x.start.data(), lists.x.entries.data()}, map_.width, kPixels};
  }
  // Pixels, all samples lie between the first and the last.
  PixelSpan span(const Roi& roi) const {
    const auto decoded = geometry_.decode(roi.row, map_);
    const PixelSpan rows = pixels_of(decoded.y, geometry_.bins.height, map_.height);
    const PixelSpan columns = pixels_of(decoded.x, geometry_.bins.width, map_.width);
    PixelSpan span;
    if (rows.pixels() > 0 && columns.pixels() > 0) {
      span.add(rows.first * map_.width + columns.first);
      span.add((rows.end - 1) * map_.width + columns.end - 1);
    }
    return span;
  }
  // Taps, at most.
  static int64_t size(const SampleLists<T>& lists) {
    const size_t samples = lists.y.entries.size() * lists.x.entries.size();
    return (kPixels ? 1 : kSampleTaps) * static_cast<int64_t>(samples);
  }

  // Calls tap(t, SeparableTap) for every tap, t being its place in MaxEngine's weights and
  // products.
  template <typename TapFn>
  void visit(const SampleLists<T>& lists, TapFn&& tap) const {
    int64_t sample = 0;
    for (int32_t p = 0; p < geometry_.bins.height; ++p) {
      for (int32_t q = 0; q < geometry_.bins.width; ++q) {
        for (int64_t i = lists.y.start[p]; i < lists.y.start[p + 1]; ++i) {
          for (int64_t j = lists.x.start[q]; j < lists.x.start[q + 1]; ++j) {
            visit_sample(lists.y.entries[i], lists.x.entries[j], kSampleTaps * sample++, tap);
          }
        }
      }
    }
  }

 private:
  using Samples = AxisList<AxisSample<T>>;

  template <typename Axis>
  static void list(const Axis& axis, int32_t bins, int32_t pixels, Samples& samples) {
    samples.list(
        bins, [&](int32_t p) { return samples_of(axis, p, pixels).count; },
        [&](int32_t p, AxisSample<T>* to) {
          const SampleRange<T> range = samples_of(axis, p, pixels);
          for (int64_t i = 0; i < range.count; ++i) {
            to[i] = axis_sample(axis, p, pixels, range.first + T(i));
          }
          return range.count;
        });
  }
  template <typename TapFn>
  static void visit_sample(
      const AxisSample<T>& y, const AxisSample<T>& x, int64_t first, TapFn& tap) {
    for (int32_t a = 0; a < y.count; ++a) {
      for (int32_t b = 0; b < x.count; ++b) {
        tap(first++, SeparableTap<T>{y.tap[a], x.tap[b]});
      }
    }
  }
  // Of an axis; a bin's samples are in order, forwards or backwards.
  template <typename Axis>
  static PixelSpan pixels_of(const Axis& axis, int32_t bins, int32_t pixels) {
    PixelSpan span;
    for (int32_t p = 0; p < bins; ++p) {
      const SampleRange<T> range = samples_of(axis, p, pixels);
      const auto add = [&](int64_t i) {
        const AxisSample<T> sample = axis_sample(axis, p, pixels, range.first + T(i));
        span.add(sample.tap[0].pixel);
        span.add(sample.tap[sample.count - 1].pixel);
      };
      if (range.count > 0) {
        add(0);
        add(range.count - 1);
      }
    }
    return span;
  }

  Geometry geometry_;
  MapSize map_;
};

}  // namespace roiops::cpu
