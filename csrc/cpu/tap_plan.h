// All RoIs' taps, listed once and shared by every channel, a bounded chunk at a time.
//
// NOTE [Chunks]
// A RoI costs O(map) taps at most, but a thousand RoIs may cost a thousand maps. RoIs are taken in
// order of level, image and height and their taps listed in chunks of about kChunkTaps, so that
// scratch memory is bounded by one chunk (or by the largest single RoI). Chunk borders depend on
// the RoIs alone, never on the number of threads, and so do the bits of every result.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "cpu/rois.h"
#include "cpu/runtime.h"
#include "cpu/types.h"

namespace roiops::cpu {

inline constexpr int64_t kChunkTaps = int64_t{1} << 20;

// The pixels that a RoI's taps lie between.
struct PixelSpan {
  int32_t first = std::numeric_limits<int32_t>::max();
  int32_t end = 0;

  void add(int32_t pixel) {
    first = std::min(first, pixel);
    end = std::max(end, pixel + 1);
  }
  void add(const PixelSpan& other) {
    first = std::min(first, other.first);
    end = std::max(end, other.end);
  }
  int64_t pixels() const {
    return first < end ? int64_t{end} - first : 0;
  }
};

// RoIs by level and image, and then by height: neighbours read the same part of the cache.
inline std::vector<int64_t> order(const RoiList& rois) {
  std::vector<std::tuple<int32_t, int64_t, double, int64_t>> keys(rois.count());
  for (int64_t roi = 0; roi < rois.count(); ++roi) {
    const double* const row = rois.rows + roi * rois.columns;
    const double height = row[2] + row[4];  // twice the middle of (x1, y1, x2, y2)
    keys[roi] = {rois.level[roi], rois.image[roi], std::isnan(height) ? 0.0 : height, roi};
  }
  std::sort(keys.begin(), keys.end());
  std::vector<int64_t> result(keys.size());
  std::transform(
      keys.begin(), keys.end(), result.begin(), [](const auto& key) { return std::get<3>(key); });
  return result;
}

// Some RoIs with their taps, sorted by level, image and height.
template <typename T>
struct TapChunk {
  int64_t index;  // 0 for the first chunk of the plan
  int64_t bins;   // per RoI
  const RoiList& rois;
  const std::vector<int64_t>& order;  // the caller's number of each RoI, in plan order
  int64_t begin, end;                 // this chunk's RoIs, in plan order
  const int64_t* start;               // [(end - begin) * (bins + 1)], counted from `taps`
  const Tap<T>* taps;
  const PixelSpan* span;  // [end - begin]

  RoiTaps<T> of(int64_t at) const {
    return {bins, start + (at - begin) * (bins + 1), taps};
  }
  int64_t tap_count(int64_t first, int64_t last) const {
    return of(last - 1).start[bins] - of(first).start[0];
  }
};

// Taps is a lister: see NOTE [Listers].
template <typename Taps>
class TapPlan {
 public:
  using T = typename Taps::T;

  TapPlan(Taps lister, const RoiList& rois)
      : rois_(rois), prototype_(std::move(lister)), bins_(prototype_.bins()), order_(order(rois)) {
    count_taps();
    cut_chunks();
  }

  int64_t chunks() const {
    return static_cast<int64_t>(chunk_begin_.size()) - 1;
  }

  // Calls body(chunk) for each chunk in order. weight(tap, roi) is the entry to list for a tap.
  template <typename Weight, typename Body>
  void for_each_chunk(Weight&& weight, Body&& body) const {
    for (int64_t c = 0; c < chunks(); ++c) {
      const int64_t begin = chunk_begin_[c], end = chunk_begin_[c + 1];
      // Not a vector: its first touch belongs to the threads that fill it.
      const std::unique_ptr<Tap<T>[]> taps(new Tap<T>[offset_[end] - offset_[begin]]);
      const std::unique_ptr<int64_t[]> start(new int64_t[(end - begin) * (bins_ + 1)]);
      std::vector<PixelSpan> span(end - begin);
      parallel_for(end - begin, [&](int64_t first, int64_t last) {
        Taps lister = prototype_;
        for (int64_t at = begin + first; at < begin + last; ++at) {
          list(lister, order_[at], weight, offset_[at] - offset_[begin], taps.get(),
              start.get() + (at - begin) * (bins_ + 1), span[at - begin]);
        }
      });
      body(TapChunk<T>{c, bins_, rois_, order_, begin, end, start.get(), taps.get(), span.data()});
    }
  }

 private:
  template <typename Weight>
  void list(Taps& lister, int64_t roi, const Weight& weight, int64_t at, Tap<T>* taps,
      int64_t* start, PixelSpan& span) const {
    lister.prepare(rois_[roi]);
    *start = at;
    lister.visit(
        [&](int32_t pixel, const auto& tap) {
          taps[at++] = {pixel, weight(tap, roi)};
          span.add(pixel);
        },
        [&] { *++start = at; });
  }

  void count_taps() {
    offset_.assign(order_.size() + 1, 0);
    parallel_for(rois_.count(), [&](int64_t begin, int64_t end) {
      Taps lister = prototype_;
      for (int64_t at = begin; at < end; ++at) {
        lister.prepare(rois_[order_[at]]);
        offset_[at + 1] = lister.size();
      }
    });
    for (size_t at = 1; at < offset_.size(); ++at) {
      offset_[at] += offset_[at - 1];
    }
  }

  // A RoI's bins count too: many bins without taps must not make an endless chunk.
  void cut_chunks() {
    chunk_begin_ = {0};
    int64_t cost = 0;
    for (int64_t at = 0; at < rois_.count(); ++at) {
      const int64_t next = offset_[at + 1] - offset_[at] + bins_;
      if (cost > 0 && cost + next > kChunkTaps) {
        chunk_begin_.push_back(at);
        cost = 0;
      }
      cost += next;
    }
    chunk_begin_.push_back(rois_.count());
  }

  const RoiList& rois_;
  Taps prototype_;
  int64_t bins_;
  std::vector<int64_t> order_;        // see order()
  std::vector<int64_t> offset_;       // [count + 1], taps before each RoI in plan order
  std::vector<int64_t> chunk_begin_;  // [chunks + 1]
};

}  // namespace roiops::cpu
