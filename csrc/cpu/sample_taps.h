// The samples of one RoI at a time, for operators that take their maximum.
#pragma once

#include <utility>
#include <vector>

#include "core/winner.h"
#include "cpu/max_engine.h"
#include "cpu/separable_taps.h"
#include "cpu/tap_plan.h"

namespace roiops::cpu {

template <typename Geometry>
class SampleTaps {
 public:
  using T = typename Geometry::Scalar;
  static constexpr int kBoxColumns = 4;
  // Whole pixels are named by their position in the plane, as torchvision's argmax.
  static constexpr bool kPixels = kNamesPixels<Geometry>;

  SampleTaps(const Geometry& geometry, MapSize map) : geometry_(geometry), map_(map) {}

  void prepare(const Roi& roi) {
    const auto decoded = geometry_.decode(roi.row, map_);
    list(decoded.y, geometry_.bins.height, map_.height, y_);
    list(decoded.x, geometry_.bins.width, map_.width, x_);
  }

  int64_t bins() const {
    return int64_t{geometry_.bins.height} * geometry_.bins.width;
  }
  // Taps and samples, at most.
  int64_t size() const {
    return static_cast<int64_t>(4 * y_.entries.size() * x_.entries.size());
  }

  // Calls tap(pixel, SeparableTap) for every tap, end_sample(tag) after each sample and end_bin()
  // after each bin.
  template <typename TapFn, typename SampleFn, typename BinFn>
  void visit(TapFn&& tap, SampleFn&& end_sample, BinFn&& end_bin) const {
    for (int32_t p = 0; p < geometry_.bins.height; ++p) {
      for (int32_t q = 0; q < geometry_.bins.width; ++q) {
        for (int64_t i = y_.start[p]; i < y_.start[p + 1]; ++i) {
          for (int64_t j = x_.start[q]; j < x_.start[q + 1]; ++j) {
            visit_sample(y_.entries[i], x_.entries[j], tap);
            end_sample(y_.entries[i].tap[0].pixel * map_.width + x_.entries[j].tap[0].pixel);
          }
        }
        end_bin();
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
  void visit_sample(const AxisSample<T>& y, const AxisSample<T>& x, TapFn& tap) const {
    for (int32_t a = 0; a < y.count; ++a) {
      for (int32_t b = 0; b < x.count; ++b) {
        tap(y.tap[a].pixel * map_.width + x.tap[b].pixel, SeparableTap<T>{y.tap[a], x.tap[b]});
      }
    }
  }

  Geometry geometry_;
  MapSize map_;
  Samples y_, x_;
};

// The listed samples of one RoI; buffers are reused.
template <typename Lister>
class SampleList {
 public:
  using T = typename Lister::T;

  explicit SampleList(const Lister& prototype) : lister_(prototype) {}

  // weight(tap) is the entry to list for a tap.
  template <typename Weight>
  RoiSamples<T> list(const Roi& roi, Weight&& weight) {
    lister_.prepare(roi);
    taps_.clear();
    tags_.clear();
    start_.assign(1, 0);
    tap_.assign(1, 0);
    lister_.visit([&](int32_t pixel, const auto& tap) { taps_.push_back({pixel, weight(tap)}); },
        [&](int32_t pixel) {
          tap_.push_back(static_cast<int64_t>(taps_.size()));
          tags_.push_back(pixel);
        },
        [&] { start_.push_back(static_cast<int64_t>(tap_.size()) - 1); });
    return {static_cast<int64_t>(start_.size()) - 1, start_.data(), tap_.data(),
        Lister::kPixels ? tags_.data() : nullptr, taps_.data()};
  }
  // The pixels between the first tap and the last.
  PixelSpan span() const {
    PixelSpan span;
    for (const Tap<T>& tap : taps_) {
      span.add(tap.pixel);
    }
    return span;
  }
  int64_t tap_count() const {
    return static_cast<int64_t>(taps_.size());
  }
  const Lister& lister() const {
    return lister_;
  }

 private:
  Lister lister_;
  std::vector<Tap<T>> taps_;
  std::vector<int64_t> start_, tap_;
  std::vector<int32_t> tags_;
};

}  // namespace roiops::cpu
