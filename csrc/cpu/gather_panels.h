// Gathers from planes that are packed into panels: see gather.cpp.
#pragma once

#include <vector>

#include "cpu/packing.h"
#include "cpu/runs.h"
#include "cpu/scratch.h"

namespace roiops::cpu {

// Parts [begin, end) of the RoIs' bins, each of which are cut into so many slices of rows.
template <typename S, typename Chunk>
void gather_panel(const Chunk& chunk, const PanelPiece& piece, const Accumulator<S>* panel,
    int64_t slices, int64_t begin, int64_t end, const View<S>& out) {
  const auto& [run, channel, lanes] = piece;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t at = run.begin + i / slices;
    const Slice rows = slice_of(chunk.grid.height, i % slices, slices);
    const auto part = chunk.part(at, rows.first, rows.count);
    Block<S> bins = out.block(chunk.roi(at), channel, lanes);
    bins.data += rows.first * chunk.grid.width * bins.item_stride;
    engine<S>().of(part).gather_panel(part, panel, run.span.first, bins);
  }
}

// A thread packs a panel and applies it to all RoIs; or, if panels are fewer, all threads do, one
// panel after the other.
template <typename S, typename Chunk>
void gather_panels(const Chunk& chunk, const std::vector<Run>& runs, const Views<const S>& in,
    const View<S>& out) {
  using T = Accumulator<S>;
  const std::vector<PanelPiece> pieces = panel_pieces(runs, in, kLanes<T>);
  const int64_t pixels = most_pixels(runs), count = static_cast<int64_t>(pieces.size());
  const auto work = [&](const Run& run) {
    return (chunk.tap_count(run.begin, run.end) + run.span.pixels()) * kLanes<T>;
  };
  const auto block = [&](const PanelPiece& piece) {
    const Run& run = piece.run;
    return spanned(in[run.level].block(run.image, piece.channel, piece.lanes), run.span);
  };
  int64_t all = 0;
  for (const PanelPiece& piece : pieces) {
    all += work(piece.run);
  }
  if (count < threads_for(all)) {
    const Scratch<T> panel(pixels * kLanes<T>);
    for (const PanelPiece& piece : pieces) {
      const Run& run = piece.run;
      pack_together<S>(1, run.span.pixels(), panel.get(), [&](int64_t) { return block(piece); });
      const int64_t rois = run.end - run.begin;
      const int64_t slices = row_slices(rois, chunk.grid.height, rois);
      const auto apply = [&](int64_t begin, int64_t end) {
        gather_panel(chunk, piece, panel.get(), slices, begin, end, out);
      };
      parallel_for(rois * slices, apply, grain_for(rois * slices, work(run)));
    }
    return;
  }
  const auto apply = [&](int64_t begin, int64_t end) {
    const Scratch<T> panel(pixels * kLanes<T>);
    for (int64_t i = begin; i < end; ++i) {
      const Run& run = pieces[i].run;
      engine<S>().pack(block(pieces[i]), run.span.pixels(), panel.get());
      gather_panel(chunk, pieces[i], panel.get(), 1, 0, run.end - run.begin, out);
    }
  };
  parallel_for(count, apply, grain_for(count, all));
}

}  // namespace roiops::cpu
