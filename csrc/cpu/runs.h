// How a chunk's RoIs are cut into pieces of work.
#pragma once

#include <algorithm>
#include <vector>

#include "cpu/apply.h"

namespace roiops::cpu {

// Consecutive RoIs, in plan order, that read one image.
struct Run {
  int32_t level;
  int64_t image, begin, end;
  PixelSpan span;
};

// RoIs without a level, which have no taps and come first, are a run of level -1.
template <typename Chunk>
std::vector<Run> runs_of(const Chunk& chunk) {
  std::vector<Run> runs;
  for (int64_t at = chunk.begin; at < chunk.end; ++at) {
    const int32_t level = chunk.level(at);
    const int64_t image = level < 0 ? 0 : chunk.image(at);
    if (runs.empty() || runs.back().image != image || runs.back().level != level) {
      runs.push_back({level, image, at, at, {}});
    }
    runs.back().end = at + 1;
    runs.back().span.add(chunk.span(at));
  }
  return runs;
}

// Some channels of a run.
struct PanelPiece {
  Run run;
  int64_t channel, lanes;
};

// Channel blocks run fastest, so that a RoI's taps stay in the cache.
template <typename S>
std::vector<PanelPiece> panel_pieces(
    const std::vector<Run>& runs, const Views<S>& maps, int64_t width) {
  std::vector<PanelPiece> pieces;
  for (const Run& run : runs) {
    const int64_t channels = maps[run.level].channels;
    for (int64_t channel = 0; channel < channels; channel += width) {
      pieces.push_back({run, channel, std::min(width, channels - channel)});
    }
  }
  return pieces;
}

// The largest panel that the runs need: only the pixels between a run's taps.
inline int64_t most_pixels(const std::vector<Run>& runs) {
  int64_t pixels = 0;
  for (const Run& run : runs) {
    pixels = std::max(pixels, run.span.pixels());
  }
  return pixels;
}

// Enough pieces for the threads of any machine, and few enough to cost nothing.
inline constexpr int64_t kManyPieces = 128;

// Into how many slices to cut the `rows` of every RoI's bins, if there are so many RoIs, and pieces
// without: few RoIs may be large.
inline int64_t row_slices(int64_t rois, int64_t rows, int64_t pieces) {
  return rois < kManyPieces / 2 ? std::clamp<int64_t>(kManyPieces / pieces, 1, rows) : 1;
}

// From `first` on.
struct Slice {
  int64_t first, count;
};

// Slice `number` of so many.
inline Slice slice_of(int64_t total, int64_t number, int64_t slices) {
  const int64_t first = total * number / slices;
  return {first, total * (number + 1) / slices - first};
}

// Whether the channels of a pixel are neighbours in memory.
template <typename S>
bool has_channels_last(const View<S>& map) {
  return map.channel_stride == 1 && map.channels > 1;
}

// The part of a map that a panel holds.
template <typename S>
Block<S> spanned(Block<S> map, const PixelSpan& span) {
  map.data += span.pixels() > 0 ? span.first * map.item_stride : 0;
  return map;
}

// A piece's part of a map stays in the second level of a cache while its RoIs are applied.
inline constexpr int64_t kPieceBytes = 256 * 1024;

template <typename Chunk>
inline constexpr bool kHasAxes = false;
template <typename T>
inline constexpr bool kHasAxes<AxisChunk<T>> = true;

}  // namespace roiops::cpu
