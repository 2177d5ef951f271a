// RoIs in the order in which the CPU engine takes them, cut into chunks.
//
// NOTE [Chunks]
// A RoI costs O(map) taps at most, but a thousand RoIs may cost a thousand maps. RoIs are taken in
// order of level, image and middle, from the top down, and what is listed for them in chunks of
// about kChunkTaps, so that scratch memory is bounded by one chunk (or by the largest single RoI).
// Chunk borders depend on the RoIs alone, never on the number of threads, and so do the bits of
// every result.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>
#include <vector>

#include "core/separable.h"
#include "cpu/rois.h"
#include "cpu/runtime.h"

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
  bool meets(const PixelSpan& other) const {
    return first < other.end && end > other.first;
  }
};

// RoIs by level and image, and then from the top down: neighbours read the same part of the cache.
inline std::vector<int64_t> order(const RoiList& rois) {
  std::vector<std::tuple<int32_t, int64_t, double, int64_t>> keys(rois.count());
  for (int64_t roi = 0; roi < rois.count(); ++roi) {
    const double* const row = rois.rows + roi * rois.columns;
    // Twice the middle of (x1, y1, x2, y2), and near enough for a rotated box.
    const double middle = row[2] + row[4];
    keys[roi] = {rois.level[roi], rois.image[roi], std::isnan(middle) ? 0.0 : middle, roi};
  }
  std::sort(keys.begin(), keys.end());
  std::vector<int64_t> result(keys.size());
  std::transform(
      keys.begin(), keys.end(), result.begin(), [](const auto& key) { return std::get<3>(key); });
  return result;
}

// Calls row(lister, i, p) for parts [begin, end) of the RoIs, each of which has so many rows of
// bins: part i is row p of a RoI, for which the lister is prepared.
template <typename Lister, typename Row>
void for_each_row(const Lister& prototype, const RoiList& rois, const std::vector<int64_t>& order,
    int64_t rows, int64_t begin, int64_t end, Row&& row) {
  Lister lister = prototype;
  for (int64_t i = begin; i < end; ++i) {
    const auto p = static_cast<int32_t>(i % rows);
    if (i == begin || p == 0) {
      lister.prepare(rois[order[i / rows]]);
    }
    row(lister, i, p);
  }
}

class RoiChunks {
 public:
  // RoIs have so many parts and bins each. measure(order, begin, end, sizes) writes how much is
  // listed for parts [begin, end) at most, beside one number for each bin.
  template <typename Measure>
  RoiChunks(const RoiList& rois, int64_t parts, int64_t bins, int64_t grain, Measure&& measure)
      : rois_(rois),
        order_(roiops::cpu::order(rois)),
        parts_(parts),
        offset_(rois.count() * parts + 1),
        begin_{0} {
    parallel_for(
        rois.count() * parts,
        [&](int64_t begin, int64_t end) { measure(order_, begin, end, offset_.data() + 1); },
        grain);
    std::partial_sum(offset_.begin(), offset_.end(), offset_.begin());
    int64_t cost = 0;
    for (int64_t at = 0; at < rois.count(); ++at) {
      const int64_t next = offset(at + 1) - offset(at) + bins;
      if (cost > 0 && cost + next > kChunkTaps) {
        begin_.push_back(at);
        cost = 0;
      }
      cost += next;
    }
    begin_.push_back(rois.count());
  }

  const RoiList& rois() const {
    return rois_;
  }
  // The caller's number of each RoI, in this order.
  const std::vector<int64_t>& order() const {
    return order_;
  }
  int64_t count() const {
    return static_cast<int64_t>(begin_.size()) - 1;
  }
  // The RoIs of a chunk are those from begin(chunk) to begin(chunk + 1).
  int64_t begin(int64_t chunk) const {
    return begin_[chunk];
  }
  // What is listed before this RoI, and before a part of it, at most.
  int64_t offset(int64_t at) const {
    return offset_[at * parts_];
  }
  int64_t part_offset(int64_t part) const {
    return offset_[part];
  }

 private:
  const RoiList& rois_;
  std::vector<int64_t> order_;
  int64_t parts_;
  std::vector<int64_t> offset_, begin_;
};

// Some RoIs of a plan, of which begin to end - 1 are places in plan order.
struct RoiChunk {
  int64_t index;  // 0 for the first chunk of the plan
  MapSize grid;   // of every RoI's bins
  const RoiChunks& plan;
  int64_t begin, end;

  int64_t bins() const {
    return int64_t{grid.height} * grid.width;
  }
  // The caller's number.
  int64_t roi(int64_t at) const {
    return plan.order()[at];
  }
  int64_t image(int64_t at) const {
    return plan.rois().image[roi(at)];
  }
  int32_t level(int64_t at) const {
    return plan.rois().level[roi(at)];
  }
};

}  // namespace roiops::cpu
