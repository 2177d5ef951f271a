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
#include <tuple>
#include <vector>

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

class RoiChunks {
 public:
  // size(lister, roi) is how much is listed for a RoI at most, beside one number for each of its
  // `bins`.
  template <typename Lister, typename Size>
  RoiChunks(const RoiList& rois, const Lister& prototype, int64_t bins, Size&& size)
      : rois_(rois), order_(roiops::cpu::order(rois)), offset_(order_.size() + 1), begin_{0} {
    parallel_for(
        rois.count(),
        [&](int64_t begin, int64_t end) {
          Lister lister = prototype;
          for (int64_t at = begin; at < end; ++at) {
            offset_[at + 1] = size(lister, rois[order_[at]]);
          }
        },
        kRoiGrain);
    int64_t cost = 0;
    for (int64_t at = 0; at < rois.count(); ++at) {
      const int64_t next = offset_[at + 1] + bins;
      if (cost > 0 && cost + next > kChunkTaps) {
        begin_.push_back(at);
        cost = 0;
      }
      cost += next;
      offset_[at + 1] += offset_[at];
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
  // What is listed for all RoIs before this one, at most.
  int64_t offset(int64_t at) const {
    return offset_[at];
  }

 private:
  const RoiList& rois_;
  std::vector<int64_t> order_, offset_, begin_;
};

}  // namespace roiops::cpu
