#include "cpu/apply.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include "cpu/engine.h"

namespace roiops::cpu {
namespace {

// Consecutive RoIs of a chunk that read one image.
struct Run {
  int32_t level;
  int64_t image, begin, end;
  PixelSpan span;
};

// RoIs without a level, which have no taps and come first, are a run of level -1.
template <typename T>
std::vector<Run> runs_of(const TapChunk<T>& chunk) {
  std::vector<Run> runs;
  for (int64_t at = chunk.begin; at < chunk.end; ++at) {
    const int64_t roi = chunk.order[at];
    const int32_t level = chunk.rois.level[roi];
    const int64_t image = level < 0 ? 0 : chunk.rois.image[roi];
    if (runs.empty() || runs.back().image != image || runs.back().level != level) {
      runs.push_back({level, image, at, at, {}});
    }
    runs.back().end = at + 1;
    runs.back().span.add(chunk.span[at - chunk.begin]);
  }
  return runs;
}

// A piece of work: some channels of some RoIs of one image; with a panel, and if each bin reads
// channels of its own, of one bin.
struct Piece {
  Run run;
  int64_t first_bin, bins;
  int64_t channel, lanes;
};

// Channel blocks run fastest, so that a RoI's taps stay in the cache.
template <typename S>
std::vector<Piece> pieces_of(
    const std::vector<Run>& runs, const Views<S>& in, int64_t bins, int64_t width, bool panels) {
  std::vector<Piece> pieces;
  for (const Run& run : runs) {
    const View<S>& view = in[run.level];
    const int64_t step = panels && view.bin_stride != 0 ? 1 : bins;
    for (int64_t bin = 0; bin < bins; bin += step) {
      for (int64_t channel = 0; channel < view.channels; channel += width) {
        pieces.push_back({run, bin, step, channel, std::min(width, view.channels - channel)});
      }
    }
  }
  return pieces;
}

// The channels of a map that a piece reads, and the bins of a RoI that it writes.
template <typename S>
Block<S> map_block(const Piece& piece, const Views<S>& in) {
  Block<S> block = in[piece.run.level].block(piece.run.image, piece.channel, piece.lanes);
  block.data += piece.first_bin * block.bin_stride;
  return block;
}

template <typename S>
Block<S> bin_block(const Piece& piece, int64_t roi, const View<S>& out) {
  Block<S> block = out.block(roi, piece.channel, piece.lanes);
  block.data += piece.first_bin * block.item_stride;
  return block;
}

// Packing costs about one strided load per pixel and channel, reading unpacked about one per tap
// and channel; a packed tap is nearly free beside them. A channel that each bin has of its own is
// packed for that bin alone.
template <typename S, typename T>
bool worth_packing(const TapChunk<T>& chunk, const Run& run, const Views<const S>& in) {
  if (run.level < 0) {
    return false;
  }
  const View<const S>& view = in[run.level];
  const int64_t maps = view.bin_stride != 0 ? chunk.bins : 1;
  return view.channel_stride != 1 && view.channels >= kFewLanes<T> &&
         chunk.tap_count(run.begin, run.end) / maps > run.span.pixels();
}

// Channels of a piece that reads the features where they lie: all of them, so that a tap's channels
// are read in one go, unless the RoIs are too few for the threads.
template <typename T>
int64_t direct_width(size_t rois, int64_t channels) {
  constexpr size_t kManyRois = 64;
  return rois >= kManyRois ? std::max<int64_t>(channels, 1) : 4 * kLanes<T>;
}

// The largest panel that the pieces need: only the pixels between a run's taps.
template <typename T>
std::unique_ptr<T[]> new_panel(const std::vector<Piece>& pieces) {
  int64_t pixels = 0;
  for (const Piece& piece : pieces) {
    pixels = std::max(pixels, piece.run.span.pixels());
  }
  return std::unique_ptr<T[]>(new T[pixels * kLanes<T>]);
}

// The part of a map that a panel holds.
template <typename S>
Block<S> spanned(Block<S> map, const PixelSpan& span) {
  map.data += span.pixels() > 0 ? span.first * map.item_stride : 0;
  return map;
}

template <typename T>
RoiTaps<T> taps_of(const TapChunk<T>& chunk, const Piece& piece, int64_t at) {
  return chunk.of(at).slice(piece.first_bin, piece.bins);
}

}  // namespace

template <typename S>
void gather_chunk(
    const TapChunk<Accumulator<S>>& chunk, const Views<const S>& in, const View<S>& out) {
  using T = Accumulator<S>;
  const Engine<S>& apply = engine<S>();
  std::vector<Run> packed, direct;
  for (const Run& run : runs_of(chunk)) {
    if (worth_packing(chunk, run, in)) {
      packed.push_back(run);
      continue;
    }
    for (int64_t at = run.begin; at < run.end; ++at) {
      direct.push_back({std::max(run.level, 0), run.image, at, at + 1, {}});
    }
  }
  const auto gather_direct = [&](const Piece& piece, const Block<const S>& map) {
    for (int64_t at = piece.run.begin; at < piece.run.end; ++at) {
      apply.gather(taps_of(chunk, piece, at), map, bin_block(piece, chunk.order[at], out));
    }
  };
  const std::vector<Piece> singles =
      pieces_of(direct, in, chunk.bins, direct_width<T>(direct.size(), out.channels), false);
  parallel_for(static_cast<int64_t>(singles.size()), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      gather_direct(singles[i], map_block(singles[i], in));
    }
  });
  const std::vector<Piece> panels = pieces_of(packed, in, chunk.bins, kLanes<T>, true);
  parallel_for(static_cast<int64_t>(panels.size()), [&](int64_t begin, int64_t end) {
    const auto panel = new_panel<T>(panels);
    for (int64_t i = begin; i < end; ++i) {
      const Piece& piece = panels[i];
      const PixelSpan& span = piece.run.span;
      if (piece.lanes < kFewLanes<T>) {
        gather_direct(piece, map_block(piece, in));
        continue;
      }
      apply.pack(spanned(map_block(piece, in), span), span.pixels(), panel.get());
      for (int64_t at = piece.run.begin; at < piece.run.end; ++at) {
        apply.gather_panel(taps_of(chunk, piece, at), panel.get(), span.first,
            bin_block(piece, chunk.order[at], out));
      }
    }
  });
}

template <typename S, typename In>
void scatter_chunk(
    const TapChunk<Accumulator<S>>& chunk, const View<const S>& grad, const View<In>& in) {
  using T = Accumulator<S>;
  std::vector<Run> runs = runs_of(chunk);
  if (!runs.empty() && runs.front().level < 0) {
    runs.erase(runs.begin());
  }
  const Views<In> maps = {in};
  // Few channels are one piece each: a panel would not pay, and the threads want work.
  constexpr bool kInPlace = std::is_same_v<In, T>;
  const int64_t width = kInPlace && in.channels < kFewLanes<T> ? 1 : kLanes<T>;
  const std::vector<Piece> pieces = pieces_of(runs, maps, chunk.bins, width, true);
  parallel_for(static_cast<int64_t>(pieces.size()), [&](int64_t begin, int64_t end) {
    std::unique_ptr<T[]> panel;
    for (int64_t i = begin; i < end; ++i) {
      const Piece& piece = pieces[i];
      const PixelSpan& span = piece.run.span;
      const Block<In> map = map_block(piece, maps);
      if constexpr (kInPlace) {
        if (piece.lanes < kFewLanes<T>) {
          for (int64_t at = piece.run.begin; at < piece.run.end; ++at) {
            engine<S>().scatter(
                taps_of(chunk, piece, at), bin_block(piece, chunk.order[at], grad), map);
          }
          continue;
        }
      }
      panel = panel ? std::move(panel) : new_panel<T>(pieces);
      const Block<In> part = spanned(map, span);
      if (chunk.index == 0) {
        std::fill_n(panel.get(), span.pixels() * kLanes<T>, T(0));
      } else {
        engine<In>().pack({part.data, part.item_stride, part.lane_stride, part.lanes},
            span.pixels(), panel.get());
      }
      for (int64_t at = piece.run.begin; at < piece.run.end; ++at) {
        engine<S>().scatter_panel(taps_of(chunk, piece, at),
            bin_block(piece, chunk.order[at], grad), panel.get(), span.first);
      }
      engine<In>().unpack(panel.get(), span.pixels(), part);
    }
  });
}

template <typename S>
void fill_empty_bins(const TapChunk<Accumulator<S>>& chunk, S value, const View<S>& out) {
  parallel_for(chunk.end - chunk.begin, [&](int64_t begin, int64_t end) {
    for (int64_t at = chunk.begin + begin; at < chunk.begin + end; ++at) {
      const int64_t* const start = chunk.of(at).start;
      S* const roi = out.data + chunk.order[at] * out.outer_stride;
      for (int64_t bin = 0; bin < chunk.bins; ++bin) {
        for (int64_t c = 0; c < out.channels && start[bin] == start[bin + 1]; ++c) {
          roi[c * out.channel_stride + bin * out.item_stride] = value;
        }
      }
    }
  });
}

#define ROIOPS_INSTANTIATE_SCATTER(S, In) \
  template void scatter_chunk(            \
      const TapChunk<Accumulator<S>>&, const View<const S>&, const View<In>&);

#define ROIOPS_INSTANTIATE(S)                                                        \
  template void gather_chunk(                                                        \
      const TapChunk<Accumulator<S>>&, const Views<const S>&, const View<S>&);       \
  template void fill_empty_bins(const TapChunk<Accumulator<S>>&, S, const View<S>&); \
  ROIOPS_INSTANTIATE_SCATTER(S, S)

ROIOPS_INSTANTIATE(double)
ROIOPS_INSTANTIATE(float)
ROIOPS_INSTANTIATE(c10::Half)
ROIOPS_INSTANTIATE(c10::BFloat16)
ROIOPS_INSTANTIATE_SCATTER(c10::Half, float)
ROIOPS_INSTANTIATE_SCATTER(c10::BFloat16, float)

}  // namespace roiops::cpu
