// All RoIs' taps, listed once and shared by every channel, a chunk at a time: see NOTE [Chunks].
// Rows of bins are listed one by one, so that a few large RoIs are work for all threads.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "cpu/roi_chunks.h"
#include "cpu/scratch.h"
#include "cpu/types.h"

namespace roiops::cpu {

template <typename T>
struct TapChunk : RoiChunk {
  const int64_t* start;  // [(end - begin) * bins], counted from `taps`
  const int64_t* stop;   // the same
  const Tap<T>* taps;
  const PixelSpan* spans;      // [end - begin]
  const PixelSpan* row_spans;  // [(end - begin) * grid.height]

  RoiTaps<T> of(int64_t at) const {
    const int64_t skip = (at - begin) * bins();
    return {bins(), start + skip, stop + skip, taps};
  }
  // Some rows of its bins.
  RoiTaps<T> part(int64_t at, int64_t p, int64_t rows) const {
    return of(at).part(p * grid.width, rows * grid.width);
  }
  PixelSpan span(int64_t at) const {
    return spans[at - begin];
  }
  // Of a row of its bins.
  PixelSpan row_span(int64_t at, int64_t p) const {
    return row_spans[(at - begin) * grid.height + p];
  }
  // Of RoIs [first, last), at most.
  int64_t tap_count(int64_t first, int64_t last) const {
    return plan.offset(last) - plan.offset(first);
  }
};

// To list a tap takes as long as so many multiply-adds, about.
inline constexpr int64_t kListingWork = 8;

// Taps is a lister: see NOTE [Listers].
template <typename Taps>
class TapPlan {
 public:
  using T = typename Taps::T;

  TapPlan(Taps lister, const RoiList& rois)
      : prototype_(std::move(lister)),
        grid_(prototype_.grid()),
        chunks_(rois, grid_.height, bins(), std::max<int64_t>(kBinGrain / grid_.width, 1),
            [&](const std::vector<int64_t>& order, int64_t begin, int64_t end, int64_t* sizes) {
              for_each_row(prototype_, rois, order, grid_.height, begin, end,
                  [&](Taps& row_lister, int64_t i, int32_t p) { sizes[i] = row_lister.size(p); });
            }) {}

  int64_t chunks() const {
    return chunks_.count();
  }

  // Calls body(chunk) for each chunk in order. weight(tap, roi) is the entry to list for a tap.
  template <typename Body, typename Weight>
  void for_each_chunk(Body&& body, Weight&& weight) const {
    const int64_t height = grid_.height;
    for (int64_t c = 0; c < chunks(); ++c) {
      const int64_t begin = chunks_.begin(c), end = chunks_.begin(c + 1);
      const int64_t count = chunks_.offset(end) - chunks_.offset(begin);
      const Scratch<Tap<T>> taps(count);
      const Scratch<int64_t> start((end - begin) * bins()), stop((end - begin) * bins());
      std::vector<PixelSpan> rows((end - begin) * height), spans(end - begin);
      const auto list = [&](Taps& lister, int64_t i, int32_t p) {
        const int64_t row = i - begin * height, bin = row * grid_.width;
        const int64_t at = chunks_.part_offset(i) - chunks_.offset(begin);
        const auto entry = [&](const auto& tap) {
          return weight(tap, chunks_.order()[i / height]);
        };
        rows[row] = list_row(lister, p, entry, at, taps.get(), start.get() + bin, stop.get() + bin);
      };
      parallel_for((end - begin) * height,
          [&](int64_t first, int64_t last) {
            for_each_row(prototype_, chunks_.rois(), chunks_.order(), height,
                begin * height + first, begin * height + last, list);
          },
          grain_for((end - begin) * height, kListingWork * count));
      for (int64_t row = 0; row < (end - begin) * height; ++row) {
        spans[row / height].add(rows[row]);
      }
      body(TapChunk<T>{{c, grid_, chunks_, begin, end}, start.get(), stop.get(), taps.get(),
          spans.data(), rows.data()});
    }
  }

  template <typename Body>
  void for_each_chunk(Body&& body) const {
    for_each_chunk(body, [](const auto& tap, int64_t) { return tap.weight(); });
  }

 private:
  int64_t bins() const {
    return int64_t{grid_.height} * grid_.width;
  }
  // From taps[at] on. Returns the pixels.
  template <typename Entry>
  static PixelSpan list_row(Taps& lister, int32_t p, const Entry& entry, int64_t at, Tap<T>* taps,
      int64_t* start, int64_t* stop) {
    PixelSpan span;
    int64_t first = at;
    lister.visit(
        p,
        [&](int32_t pixel, const auto& tap) {
          taps[at++] = {pixel, entry(tap)};
          span.add(pixel);
        },
        [&] {
          *start++ = std::exchange(first, at);
          *stop++ = at;
        });
    return span;
  }

  Taps prototype_;
  MapSize grid_;
  RoiChunks chunks_;
};

}  // namespace roiops::cpu
