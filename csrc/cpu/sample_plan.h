// Which samples the maximum operators compare.
#pragma once

#include <algorithm>
#include <atomic>
#include <numeric>
#include <utility>
#include <vector>

#include "cpu/runs.h"
#include "cpu/sample_taps.h"

namespace roiops::cpu {

// The samples of all RoIs, see order(). Up to kChunkTaps are listed once for all
// channels; whoever needs others lists them again, so that memory is bounded.
template <typename Lister>
class SamplePlan {
 public:
  using T = typename Lister::T;
  using Lists = SampleLists<T>;

  // keep: whether samples will be asked for.
  SamplePlan(const Lister& lister, const RoiList& rois, bool keep)
      : lister_(lister),
        rois_(rois),
        order_(cpu::order(rois)),
        lists_(keep ? order_.size() : 0),
        taps_(order_.size()) {
    std::vector<PixelSpan> spans(order_.size());
    std::atomic<int64_t> listed{0};
    const auto list = [&](int64_t begin, int64_t end) {
      Lists lists;
      for (int64_t at = begin; at < end; ++at) {
        const Roi roi = rois_[order_[at]];
        spans[at] = lister_.span(roi);
        if (!keep) {
          continue;
        }
        lister_.list(roi, lists);
        taps_[at] = Lister::size(lists);
        if (listed.fetch_add(lists.size()) < kChunkTaps) {
          lists_[at] = std::move(lists);
        }
      }
    };
    parallel_for(static_cast<int64_t>(order_.size()), list, kRoiGrain);
    for (size_t at = 0; at < order_.size(); ++at) {
      const int64_t image = rois.image[order_[at]], next = static_cast<int64_t>(at);
      if (runs_.empty() || runs_.back().image != image) {
        runs_.push_back({0, image, next, next, {}});
      }
      runs_.back().end = next + 1;
      runs_.back().span.add(spans[at]);
    }
  }

  int64_t roi(int64_t at) const {
    return order_[at];
  }
  // `own` has room for lists that were not kept.
  RoiSamples<T> samples(int64_t at, Lists& own) const {
    if (!lists_[at].y.start.empty()) {
      return lister_.samples(lists_[at]);
    }
    lister_.list(rois_[order_[at]], own);
    return lister_.samples(own);
  }
  const std::vector<Run>& runs() const {
    return runs_;
  }
  // At most.
  int64_t tap_count(const Run& run) const {
    return std::accumulate(taps_.begin() + run.begin, taps_.begin() + run.end, int64_t{0});
  }
  Run run_of(int64_t image) const {
    const auto at = std::lower_bound(runs_.begin(), runs_.end(), image,
        [](const Run& run, int64_t wanted) { return run.image < wanted; });
    return at != runs_.end() && at->image == image ? *at : Run{0, image, 0, 0, {}};
  }

 private:
  Lister lister_;
  const RoiList& rois_;
  std::vector<int64_t> order_;
  std::vector<Lists> lists_;   // in plan order
  std::vector<int64_t> taps_;  // in plan order
  std::vector<Run> runs_;
};

}  // namespace roiops::cpu
