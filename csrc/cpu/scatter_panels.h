// Sums of gradients in panels, for planes: see scatter.cpp.
#pragma once

#include <algorithm>
#include <vector>

#include "cpu/clear.h"
#include "cpu/packing.h"
#include "cpu/runs.h"
#include "cpu/scratch.h"

namespace roiops::cpu {

// Some rows of a RoI's bins.
struct BinRows {
  int64_t first, count;
};

// Those that reach some rows of the map, and what lies between them.
template <typename T>
BinRows rows_between(const RoiAxes<T>& roi, int64_t first_row, int64_t end_row) {
  const auto reaches = [&](int64_t p) {
    const BinTaps<T> taps = roi.y.bin(p);
    return std::any_of(taps.begin, taps.end,
        [&](const Tap<T>& tap) { return tap.pixel >= first_row && tap.pixel < end_row; });
  };
  int64_t p = 0, rows = roi.y.bins;
  for (; rows > 0 && !reaches(p); --rows) {
    ++p;
  }
  for (; rows > 0 && !reaches(p + rows - 1); --rows) {
  }
  return {p, rows};
}

// Of a run's pixels, band `number` of so many: whole rows of the map.
template <typename T>
PixelSpan band_of(const AxisChunk<T>& chunk, const PixelSpan& span, int64_t number, int64_t bands) {
  const int64_t width = chunk.map.width, top = span.first / width;
  const Share rows((span.end + width - 1) / width - top, number, bands);
  const int64_t first = (top + rows.first) * width;
  return {static_cast<int32_t>(first), static_cast<int32_t>(first + rows.count * width)};
}

// Listed taps are told apart by pixels.
template <typename T>
PixelSpan band_of(const TapChunk<T>&, const PixelSpan& span, int64_t number, int64_t bands) {
  const Share pixels(span.pixels(), number, bands);
  const int64_t first = span.first + pixels.first;
  return {static_cast<int32_t>(first), static_cast<int32_t>(first + pixels.count)};
}

// Adds a RoI's share to a panel of the band's pixels.
template <typename S, typename T>
void scatter_to_panel(
    const AxisChunk<T>& chunk, int64_t at, const PixelSpan& band, Block<const S> bins, T* panel) {
  const PixelSpan span = chunk.span(at);
  if (span.first >= band.first && span.end <= band.end) {
    engine<S>().axes.scatter_panel(chunk.of(at), bins, panel, band.first, band.end);
    return;
  }
  const int64_t width = chunk.map.width;
  const BinRows rows = rows_between(chunk.of(at), band.first / width, band.end / width);
  bins.data += rows.first * chunk.grid.width * bins.item_stride;
  engine<S>().axes.scatter_panel(
      chunk.part(at, rows.first, rows.count), bins, panel, band.first, band.end);
}
template <typename S, typename T>
void scatter_to_panel(const TapChunk<T>& chunk, int64_t at, const PixelSpan& band,
    const Block<const S>& bins, T* panel) {
  engine<S>().taps.scatter_panel(chunk.of(at), bins, panel, band.first, band.end);
}

// A panel's share of all RoIs, in order, in the pixels of a band; clears what lies before the first
// band and behind the last.
template <typename S, typename In, typename Chunk>
void scatter_panel(const Chunk& chunk, const PanelPiece& piece, int64_t number, int64_t bands,
    const View<const S>& grad, const View<In>& in, Accumulator<S>* panel) {
  using T = Accumulator<S>;
  const auto& [run, channel, lanes] = piece;
  const Block<In> map = in.block(run.image, channel, lanes);
  const bool is_empty = run.span.pixels() == 0;
  const PixelSpan band = is_empty ? PixelSpan{} : band_of(chunk, run.span, number, bands);
  const Block<In> part = spanned(map, band);
  const int64_t pixels = band.pixels();
  if (chunk.index == 0) {
    clear_pixels(map, 0, number > 0 ? 0 : is_empty ? in.items : band.first);
    clear_pixels(map, number < bands - 1 || is_empty ? in.items : band.end, in.items);
    std::fill_n(panel, pixels * kLanes<T>, T(0));
  } else {
    engine<In>().pack({part.data, part.item_stride, part.lane_stride, part.lanes}, pixels, panel);
  }
  for (int64_t at = run.begin; at < run.end && pixels > 0; ++at) {
    const PixelSpan span = chunk.span(at);
    if (span.first < band.end && span.end > band.first) {
      scatter_to_panel<S>(chunk, at, band, grad.block(chunk.roi(at), channel, lanes), panel);
    }
  }
  engine<In>().unpack(panel, pixels, part);
}

// A thread owns some channels of an image, or of some of its pixels if panels are fewer than
// threads.
template <typename S, typename In, typename Chunk>
void scatter_panels(const Chunk& chunk, const std::vector<Run>& runs, const View<const S>& grad,
    const View<In>& in) {
  constexpr int64_t kPiecesPerThread = 4;  // RoIs are not spread evenly
  using T = Accumulator<S>;
  const std::vector<PanelPiece> pieces = panel_pieces(runs, Views<In>{in}, kLanes<T>);
  const auto count = static_cast<int64_t>(pieces.size());
  const int64_t bands = count < threads() ? (kPiecesPerThread * threads() + count - 1) / count : 1;
  int64_t most_pixels = 0;
  for (const Run& run : runs) {
    for (int64_t number = 0; number < bands && run.span.pixels() > 0; ++number) {
      most_pixels = std::max(most_pixels, band_of(chunk, run.span, number, bands).pixels());
    }
  }
  parallel_for(count * bands, [&](int64_t begin, int64_t end) {
    const Scratch<T> panel(most_pixels * kLanes<T>);
    for (int64_t i = begin; i < end; ++i) {
      scatter_panel(chunk, pieces[i / bands], i % bands, bands, grad, in, panel.get());
    }
  });
}

// Panels must be cleared and unpacked, which few taps do not pay for, nor channels that are
// neighbours in memory anyway.
template <typename T, typename In>
bool worth_panels(const AxisChunk<T>& chunk, const std::vector<Run>& runs, const View<In>& in) {
  int64_t pixels = 0;
  for (const Run& run : runs) {
    pixels += run.span.pixels();
  }
  return in.bin_stride == 0 && !has_channels_last(in) && in.channels >= kFewLanes<T> &&
         worth_a_panel<T>(chunk.tap_count(chunk.begin, chunk.end), pixels, in.channels);
}

// Bands would walk each list again.
template <typename T, typename In>
bool worth_panels(const TapChunk<T>&, const std::vector<Run>&, const View<In>& in) {
  return in.channels >= kFewLanes<T>;
}

}  // namespace roiops::cpu
