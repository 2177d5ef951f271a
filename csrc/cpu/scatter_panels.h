// Sums of gradients in panels, for planes: see scatter.cpp.
#pragma once

#include <algorithm>
#include <vector>

#include "cpu/clear.h"
#include "cpu/packing.h"
#include "cpu/runs.h"
#include "cpu/scratch.h"

namespace roiops::cpu {

// Of so many rows, the first and the last for which reaches(p) holds, and what lies between them.
template <typename Reaches>
Slice rows_that(int64_t rows, Reaches&& reaches) {
  int64_t first = 0;
  for (; rows > 0 && !reaches(first); --rows) {
    ++first;
  }
  for (; rows > 0 && !reaches(first + rows - 1); --rows) {
  }
  return {first, rows};
}

// The rows of bins that reach some rows of the map.
template <typename T>
Slice rows_that_reach(const RoiAxes<T>& roi, int64_t first_row, int64_t end_row) {
  return rows_that(roi.y.bins, [&](int64_t p) {
    const BinTaps<T> taps = roi.y.bin(p);
    return std::any_of(taps.begin, taps.end,
        [&](const Tap<T>& tap) { return tap.pixel >= first_row && tap.pixel < end_row; });
  });
}
template <typename T>
Slice rows_that_reach(const AxisChunk<T>& chunk, int64_t at, const PixelSpan& band) {
  const int64_t width = chunk.map.width;
  return rows_that_reach(chunk.of(at), band.first / width, band.end / width);
}
template <typename T>
Slice rows_that_reach(const TapChunk<T>& chunk, int64_t at, const PixelSpan& band) {
  return rows_that(chunk.grid.height, [&](int64_t p) { return chunk.row_span(at, p).meets(band); });
}

// Of a run's pixels, band `number` of so many: whole rows of the map.
template <typename T>
PixelSpan band_of(const AxisChunk<T>& chunk, const PixelSpan& span, int64_t number, int64_t bands) {
  const int64_t width = chunk.map.width, top = span.first / width;
  const Slice rows = slice_of((span.end + width - 1) / width - top, number, bands);
  const int64_t first = (top + rows.first) * width;
  return {static_cast<int32_t>(first), static_cast<int32_t>(first + rows.count * width)};
}

// Listed taps are told apart by pixels.
template <typename T>
PixelSpan band_of(const TapChunk<T>&, const PixelSpan& span, int64_t number, int64_t bands) {
  const Slice pixels = slice_of(span.pixels(), number, bands);
  const int64_t first = span.first + pixels.first;
  return {static_cast<int32_t>(first), static_cast<int32_t>(first + pixels.count)};
}

// Into how many bands each of so many panels is cut: more than one only if panels are fewer than
// the threads. RoIs are not spread evenly; but each band walks the lists of all rows that reach it.
template <typename Chunk>
int64_t bands_for(int64_t panels, int64_t threads) {
  constexpr int64_t kPiecesPerThread = 4, kMostLists = 16;
  if (panels == 0 || panels >= threads) {
    return 1;
  }
  const int64_t wanted =
      kHasAxes<Chunk> ? kPiecesPerThread * threads : std::min(threads, kMostLists);
  return (wanted + panels - 1) / panels;
}

// Adds a RoI's share to a panel of the band's pixels.
template <typename S, typename Chunk, typename T>
void scatter_to_panel(
    const Chunk& chunk, int64_t at, const PixelSpan& band, Block<const S> bins, T* panel) {
  const PixelSpan span = chunk.span(at);
  const bool whole = span.first >= band.first && span.end <= band.end;
  const Slice rows = whole ? Slice{0, chunk.grid.height} : rows_that_reach(chunk, at, band);
  const auto part = chunk.part(at, rows.first, rows.count);
  bins.data += rows.first * chunk.grid.width * bins.item_stride;
  engine<S>().of(part).scatter_panel(part, bins, panel, band.first, band.end);
}

// Clears a slice of an image's pixels outside a span.
template <typename In>
void clear_outside(
    const Block<In>& map, int64_t pixels, const PixelSpan& span, int64_t number, int64_t slices) {
  const Slice own = slice_of(pixels - span.pixels(), number, slices);
  const int64_t first = span.first, begin = own.first, end = own.first + own.count;
  clear_pixels(map, std::min(begin, first), std::min(end, first));
  clear_pixels(map, std::max(begin, first) + span.pixels(), std::max(end, first) + span.pixels());
}

// A panel's share of all RoIs, in order, in the pixels of a band; the first chunk's bands clear the
// rest of the map as well.
template <typename S, typename In, typename Chunk>
void scatter_panel(const Chunk& chunk, const PanelPiece& piece, int64_t number, int64_t bands,
    const View<const S>& grad, const View<In>& in, Accumulator<S>* panel) {
  using T = Accumulator<S>;
  const auto& [run, channel, lanes] = piece;
  const PixelSpan span = run.span.pixels() > 0 ? run.span : PixelSpan{0, 0};
  const PixelSpan band = band_of(chunk, span, number, bands);
  const Block<In> map = in.block(run.image, channel, lanes), part = spanned(map, band);
  const int64_t pixels = band.pixels();
  if (chunk.index == 0) {
    clear_outside(map, in.items, band_of(chunk, span, 0, 1), number, bands);
    std::fill_n(panel, pixels * kLanes<T>, T(0));
  } else {
    engine<In>().pack({part.data, part.item_stride, part.lane_stride, part.lanes}, pixels, panel);
  }
  for (int64_t at = run.begin; at < run.end; ++at) {
    if (chunk.span(at).meets(band)) {
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
  using T = Accumulator<S>;
  const std::vector<PanelPiece> pieces = panel_pieces(runs, Views<In>{in}, kLanes<T>);
  const auto panels = static_cast<int64_t>(pieces.size());
  const int64_t taps = chunk.tap_count(chunk.begin, chunk.end);
  const int64_t pixels = static_cast<int64_t>(runs.size()) * in.items;  // to be cleared or unpacked
  const int64_t work = (taps + pixels) * in.channels;
  const int64_t bands = bands_for<Chunk>(panels, threads_for(work));
  int64_t room = 0;
  for (const Run& run : runs) {
    for (int64_t number = 0; number < bands && run.span.pixels() > 0; ++number) {
      room = std::max(room, band_of(chunk, run.span, number, bands).pixels());
    }
  }
  const auto apply = [&](int64_t begin, int64_t end) {
    const Scratch<T> panel(room * kLanes<T>);
    for (int64_t i = begin; i < end; ++i) {
      scatter_panel(chunk, pieces[i / bands], i % bands, bands, grad, in, panel.get());
    }
  };
  parallel_for(panels * bands, apply, grain_for(panels * bands, work));
}

// Panels must be cleared and unpacked, which few taps do not pay for.
template <typename T, typename In>
bool worth_panels(const AxisChunk<T>& chunk, const std::vector<Run>& runs, const View<In>& in) {
  int64_t pixels = 0;
  for (const Run& run : runs) {
    pixels += run.span.pixels();
  }
  return worth_panels<T>(in, chunk.tap_count(chunk.begin, chunk.end), pixels);
}
// Bands of the map itself would be many, and walk each list again.
template <typename T, typename In>
bool worth_panels(const TapChunk<T>&, const std::vector<Run>&, const View<In>& in) {
  return in.channels >= kFewLanes<T>;
}

}  // namespace roiops::cpu
