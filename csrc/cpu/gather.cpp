// gather_chunk: see apply.h.
#include <algorithm>
#include <vector>

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include "cpu/gather_panels.h"

namespace roiops::cpu {
namespace {

// How a run is applied.
enum class Way {
  kDirect,  // a RoI at a time, reading all channels where they lie
  kPlanes,  // planes where they lie
  kPanels,  // planes packed into panels
  kOwn      // every bin has channels of its own
};

// Large RoIs one upon another: where each reads more than the last level of a cache holds, its
// neighbour finds none of it there, but finds a panel. Packed and written in pieces, pixels and
// bins cost several taps, for which the taps of such RoIs must pay.
template <typename S, typename Chunk>
bool reads_over_and_over(
    const Chunk& chunk, const Run& run, const View<const S>& map, int64_t bins) {
  constexpr int64_t kTapsPerItem = 16, kCacheBytes = int64_t{8} << 20;
  if (map.channels < kLanes<Accumulator<S>>) {
    return false;
  }
  const int64_t cached = kCacheBytes / (map.channels * int64_t{sizeof(S)});
  int64_t taps = 0;
  for (int64_t at = run.begin; at < run.end; ++at) {
    const int64_t own = chunk.tap_count(at, at + 1);
    taps += own > cached ? own : 0;
  }
  return taps > kTapsPerItem * (run.span.pixels() + (run.end - run.begin) * bins);
}

template <typename S, typename Chunk>
Way way_of(const Chunk& chunk, const Run& run, const Views<const S>& in, int64_t bins) {
  if (run.level < 0) {
    return Way::kDirect;
  }
  const View<const S>& map = in[run.level];
  if (map.bin_stride != 0) {
    return Way::kOwn;
  }
  if (map.channels < kFewLanes<Accumulator<S>>) {  // whatever the RoIs: see NOTE [Engine]
    return kHasAxes<Chunk> && map.item_stride == 1 ? Way::kPlanes : Way::kDirect;
  }
  if (has_channels_last(map)) {
    return reads_over_and_over(chunk, run, map, bins) ? Way::kPanels : Way::kDirect;
  }
  const int64_t taps = chunk.tap_count(run.begin, run.end);
  return worth_panels<Accumulator<S>>(map, taps, run.span.pixels()) ? Way::kPanels : Way::kDirect;
}

// Some RoIs of one image in some channels, and some rows of their bins.
struct Piece {
  Run run;
  int64_t channel, lanes;
  int64_t first_row, rows;
};

// Cuts RoIs into `cuts` and the rows of their bins into `slices` pieces, for every block of
// channels.
void cut(std::vector<Piece>& pieces, const Run& run, int64_t cuts, int64_t channels, int64_t lanes,
    int64_t rows, int64_t slices) {
  const int64_t rois = run.end - run.begin;
  for (int64_t channel = 0; channel < channels; channel += lanes) {
    for (int64_t i = 0; i < cuts; ++i) {
      const Slice own = slice_of(rois, i, cuts);
      Run part = run;
      part.begin = run.begin + own.first;
      part.end = part.begin + own.count;
      for (int64_t j = 0; j < slices; ++j) {
        const Slice slice = slice_of(rows, j, slices);
        pieces.push_back(
            {part, channel, std::min(lanes, channels - channel), slice.first, slice.count});
      }
    }
  }
}

// Pieces of RoIs that read the features where they lie: all channels, so that a tap's are read in
// one go. If RoIs are few, some rows of bins, or else some channels.
template <typename T, typename Chunk>
void cut_direct(std::vector<Piece>& pieces, const Chunk& chunk, const Run& run, int64_t channels) {
  const int64_t rois = chunk.end - chunk.begin, rows = chunk.grid.height;
  const int64_t slices = row_slices(rois, rows, rois);
  const bool by_channels = rois < kManyPieces / 2 && slices == 1;
  const int64_t lanes = by_channels ? 8 * kLanes<T> : std::max<int64_t>(channels, 1);
  cut(pieces, run, run.end - run.begin, channels, lanes, rows, slices);
}

// Channels that stay in the cache while all RoIs read them; then, if pieces are few, fewer RoIs,
// and then rows of their bins.
template <typename S, typename T>
void cut_planes(std::vector<Piece>& pieces, const AxisChunk<T>& chunk, const Run& run,
    const View<const S>& in) {
  const int64_t plane_bytes = std::max<int64_t>(in.items * int64_t{sizeof(S)}, 1);
  const int64_t lanes = std::clamp<int64_t>(kPieceBytes / plane_bytes, 1, in.channels);
  const int64_t blocks = (in.channels + lanes - 1) / lanes;
  const int64_t cuts = std::min(run.end - run.begin, (kManyPieces + blocks - 1) / blocks);
  const int64_t rows = chunk.grid.height;
  cut(pieces, run, cuts, in.channels, lanes, rows,
      row_slices(chunk.end - chunk.begin, rows, blocks * cuts));
}

// All channels, of so many RoIs that a bin's planes are worth the trip to the cache.
void cut_own(std::vector<Piece>& pieces, const Run& run, int64_t channels, int64_t rows) {
  constexpr int64_t kRoisPerTrip = 32;
  const int64_t rois = run.end - run.begin;
  const int64_t cuts =
      std::clamp<int64_t>(rois / kRoisPerTrip, std::min<int64_t>(rois, 8), kManyPieces);
  cut(pieces, run, cuts, channels, std::max<int64_t>(channels, 1), rows, 1);
}

template <typename S>
Block<const S> map_block(const Piece& piece, const Views<const S>& in) {
  return in[std::max(piece.run.level, 0)].block(piece.run.image, piece.channel, piece.lanes);
}

template <typename S>
Block<S> bin_block(const Piece& piece, int64_t roi, int64_t bin, const View<S>& out) {
  Block<S> block = out.block(roi, piece.channel, piece.lanes);
  block.data += bin * block.item_stride;
  return block;
}

template <typename S, typename Chunk>
void gather_direct(
    const Chunk& chunk, const Piece& piece, const Views<const S>& in, const View<S>& out) {
  const int64_t first = piece.first_row * chunk.grid.width;
  Block<const S> map = map_block(piece, in);
  map.data += first * map.bin_stride;
  for (int64_t at = piece.run.begin; at < piece.run.end; ++at) {
    const auto part = chunk.part(at, piece.first_row, piece.rows);
    engine<S>().of(part).gather(part, map, bin_block(piece, chunk.roi(at), first, out));
  }
}

// Bin by bin, whose planes all RoIs read before the next.
template <typename S, typename T>
void gather_own(
    const AxisChunk<T>& chunk, const Piece& piece, const Views<const S>& in, const View<S>& out) {
  const int64_t width = chunk.grid.width;
  Block<const S> map = map_block(piece, in);
  for (int64_t bin = 0; bin < out.items; ++bin, map.data += map.bin_stride) {
    for (int64_t at = piece.run.begin; at < piece.run.end; ++at) {
      engine<S>().axes.gather(chunk.of(at).part(bin / width, 1, bin % width, 1), map,
          bin_block(piece, chunk.roi(at), bin, out));
    }
  }
}

template <typename S, typename T>
void gather_planes(
    const AxisChunk<T>& chunk, const Piece& piece, const Views<const S>& in, const View<S>& out) {
  const Scratch<T> row(chunk.of(piece.run.begin).width);
  for (int64_t at = piece.run.begin; at < piece.run.end; ++at) {
    engine<S>().gather_planes(chunk.part(at, piece.first_row, piece.rows), map_block(piece, in),
        bin_block(piece, chunk.roi(at), piece.first_row * chunk.grid.width, out), row.get());
  }
}

template <typename S, typename Chunk>
void gather(const Chunk& chunk, const Views<const S>& in, const View<S>& out) {
  using T = Accumulator<S>;
  std::vector<Run> packed;
  std::vector<Piece> pieces;
  std::vector<Way> ways;  // of pieces
  for (const Run& run : runs_of(chunk)) {
    const Way way = way_of(chunk, run, in, out.items);
    if (way == Way::kPanels) {
      packed.push_back(run);
      continue;
    }
    if constexpr (kHasAxes<Chunk>) {
      if (way == Way::kPlanes) {
        cut_planes(pieces, chunk, run, in[run.level]);
      } else if (way == Way::kOwn) {
        cut_own(pieces, run, out.channels, chunk.grid.height);
      }
    }
    if (way == Way::kDirect || !kHasAxes<Chunk>) {
      cut_direct<T>(pieces, chunk, run, out.channels);
    }
    ways.resize(pieces.size(), way);
  }
  const auto apply = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if constexpr (kHasAxes<Chunk>) {
        if (ways[i] != Way::kDirect) {
          (ways[i] == Way::kOwn ? gather_own<S, T> : gather_planes<S, T>)(chunk, pieces[i], in,
              out);
          continue;
        }
      }
      gather_direct(chunk, pieces[i], in, out);
    }
  };
  const auto count = static_cast<int64_t>(pieces.size());
  const int64_t bins = (chunk.end - chunk.begin) * out.items;
  const int64_t work = (chunk.tap_count(chunk.begin, chunk.end) + bins) * out.channels;
  parallel_for(count, apply, grain_for(count, work));
  if (!packed.empty()) {
    gather_panels(chunk, packed, in, out);
  }
}

}  // namespace

template <typename S>
void gather_chunk(
    const TapChunk<Accumulator<S>>& chunk, const Views<const S>& in, const View<S>& out) {
  gather(chunk, in, out);
}

template <typename S>
void gather_chunk(
    const AxisChunk<Accumulator<S>>& chunk, const Views<const S>& in, const View<S>& out) {
  gather(chunk, in, out);
}

template <typename Chunk, typename S>
void fill_empty_bins(const Chunk& chunk, S value, const View<S>& out) {
  parallel_for(chunk.end - chunk.begin, [&](int64_t begin, int64_t end) {
    for (int64_t at = chunk.begin + begin; at < chunk.begin + end; ++at) {
      for (int64_t bin = 0; bin < out.items; ++bin) {
        for (int64_t c = 0; c < out.channels && chunk.of(at).is_empty(bin); ++c) {
          *out.at(chunk.roi(at), c, bin) = value;
        }
      }
    }
  });
}

#define ROIOPS_INSTANTIATE(S)                                                        \
  template void gather_chunk(                                                        \
      const TapChunk<Accumulator<S>>&, const Views<const S>&, const View<S>&);       \
  template void gather_chunk(                                                        \
      const AxisChunk<Accumulator<S>>&, const Views<const S>&, const View<S>&);      \
  template void fill_empty_bins(const TapChunk<Accumulator<S>>&, S, const View<S>&); \
  template void fill_empty_bins(const AxisChunk<Accumulator<S>>&, S, const View<S>&);

ROIOPS_INSTANTIATE(double)
ROIOPS_INSTANTIATE(float)
ROIOPS_INSTANTIATE(c10::Half)
ROIOPS_INSTANTIATE(c10::BFloat16)

}  // namespace roiops::cpu
