// All RoIs' taps, listed once and shared by every channel, a chunk at a time: see NOTE [Chunks].
#pragma once

#include <utility>
#include <vector>

#include "cpu/roi_chunks.h"
#include "cpu/scratch.h"
#include "cpu/types.h"

namespace roiops::cpu {

template <typename T>
struct TapChunk {
  int64_t index;  // 0 for the first chunk of the plan
  int64_t bins;   // per RoI
  const RoiList& rois;
  const std::vector<int64_t>& order;  // the caller's number of each RoI, in plan order
  int64_t begin, end;                 // this chunk's RoIs, in plan order
  const int64_t* start;               // [(end - begin) * (bins + 1)], counted from `taps`
  const Tap<T>* taps;
  const PixelSpan* spans;  // [end - begin]

  RoiTaps<T> of(int64_t at) const {
    return {bins, start + (at - begin) * (bins + 1), taps};
  }
  PixelSpan span(int64_t at) const {
    return spans[at - begin];
  }
  int64_t tap_count(int64_t first, int64_t last) const {
    return first < last ? of(last - 1).start[bins] - of(first).start[0] : 0;
  }
};

// Taps is a lister: see NOTE [Listers].
template <typename Taps>
class TapPlan {
 public:
  using T = typename Taps::T;

  TapPlan(Taps lister, const RoiList& rois)
      : prototype_(std::move(lister)),
        chunks_(rois, prototype_, prototype_.bins(), [](Taps& taps, const Roi& roi) {
          taps.prepare(roi);
          return taps.size();
        }) {}

  int64_t chunks() const {
    return chunks_.count();
  }

  // Calls body(chunk) for each chunk in order. weight(tap, roi) is the entry to list for a tap.
  template <typename Body, typename Weight>
  void for_each_chunk(Body&& body, Weight&& weight) const {
    const int64_t bins = prototype_.bins();
    for (int64_t c = 0; c < chunks(); ++c) {
      const int64_t begin = chunks_.begin(c), end = chunks_.begin(c + 1);
      const Scratch<Tap<T>> taps(chunks_.offset(end) - chunks_.offset(begin));
      const Scratch<int64_t> start((end - begin) * (bins + 1));
      std::vector<PixelSpan> span(end - begin);
      parallel_for(
          end - begin,
          [&](int64_t first, int64_t last) {
            Taps lister = prototype_;
            for (int64_t at = begin + first; at < begin + last; ++at) {
              list(lister, chunks_.order()[at], weight, chunks_.offset(at) - chunks_.offset(begin),
                  taps.get(), start.get() + (at - begin) * (bins + 1), span[at - begin]);
            }
          },
          kRoiGrain);
      body(TapChunk<T>{c, bins, chunks_.rois(), chunks_.order(), begin, end, start.get(),
          taps.get(), span.data()});
    }
  }

  template <typename Body>
  void for_each_chunk(Body&& body) const {
    for_each_chunk(body, [](const auto& tap, int64_t) { return tap.weight(); });
  }

 private:
  template <typename Weight>
  void list(Taps& lister, int64_t roi, const Weight& weight, int64_t at, Tap<T>* taps,
      int64_t* start, PixelSpan& span) const {
    lister.prepare(chunks_.rois()[roi]);
    *start = at;
    lister.visit(
        [&](int32_t pixel, const auto& tap) {
          taps[at++] = {pixel, weight(tap, roi)};
          span.add(pixel);
        },
        [&] { *++start = at; });
  }

  Taps prototype_;
  RoiChunks chunks_;
};

}  // namespace roiops::cpu
