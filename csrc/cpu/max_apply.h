// Selects, and scatters to what was selected, over whole tensors. The image of a RoI has its
// channels apart (no position-sensitive operator takes a maximum).
#pragma once

#include <algorithm>
#include <vector>

#include "cpu/clear.h"
#include "cpu/packing.h"
#include "cpu/sample_plan.h"
#include "cpu/scratch.h"

namespace roiops::cpu {

// Some rows of a RoI's bins: calls apply(samples, values, winners), which are theirs.
template <typename S, typename T, typename Apply>
void with_rows(
    RoiSamples<T> roi, const Slice& rows, Block<S> values, Block<int32_t> winners, Apply&& apply) {
  roi.y = {rows.count, roi.y.start + rows.first, roi.y.samples};
  values.data += rows.first * roi.x.bins * values.item_stride;
  winners.data += rows.first * roi.x.bins * winners.item_stride;
  apply(roi, values, winners);
}

// Parts [begin, end) of the RoIs' bins, each of which are cut into so many slices of rows.
template <typename S, typename Lister>
void select_from_panels(const SamplePlan<Lister>& plan, const PanelPiece& piece,
    const Accumulator<S>* panels, int64_t slices, int64_t begin, int64_t end, const View<S>& out,
    const View<int32_t>& winner) {
  using T = Accumulator<S>;
  const auto& [run, channel, lanes] = piece;
  const Panels<T> from{panels, run.span.pixels() * kLanes<T>, run.span.first};
  SampleLists<T> own;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t at = run.begin + i / slices, roi = plan.roi(at);
    const RoiSamples<T> samples = plan.samples(at, own);
    with_rows(samples, slice_of(samples.y.bins, i % slices, slices), out.block(roi, channel, lanes),
        winner.block(roi, channel, lanes),
        [&](const auto& rows, const auto& values, const auto& winners) {
          max_engine<S>().select_panels(rows, from, values, winners);
        });
  }
}

// Where many taps share their pixels: as gather_panels, with some panels at a time.
template <typename S, typename Lister>
void select_packed(const SamplePlan<Lister>& plan, const std::vector<Run>& runs, int64_t rows,
    const View<const S>& in, const View<S>& out, const View<int32_t>& winner) {
  using T = Accumulator<S>;
  const std::vector<PanelPiece> pieces =
      panel_pieces(runs, Views<const S>{in}, kSelectPanels * kLanes<T>);
  const int64_t room = kSelectPanels * most_pixels(runs) * kLanes<T>;
  const auto count = static_cast<int64_t>(pieces.size());
  const auto block = [&](const PanelPiece& piece, int64_t number) {
    const auto& [run, channel, lanes] = piece;
    return spanned(panel_block<T>(in, run.image, channel, lanes, number), run.span);
  };
  const auto work = [&](const PanelPiece& piece) {
    return (plan.tap_count(piece.run) + piece.run.span.pixels()) * piece.lanes;
  };
  int64_t all = 0;
  for (const PanelPiece& piece : pieces) {
    all += work(piece);
  }
  if (count < threads_for(all)) {
    const Scratch<T> panels(room);
    for (const PanelPiece& piece : pieces) {
      const Run& run = piece.run;
      pack_together<S>(panels_for<T>(piece.lanes), run.span.pixels(), panels.get(),
          [&](int64_t number) { return block(piece, number); });
      const int64_t rois = run.end - run.begin, slices = row_slices(rois, rows, rois);
      const auto apply = [&](int64_t begin, int64_t end) {
        select_from_panels(plan, piece, panels.get(), slices, begin, end, out, winner);
      };
      parallel_for(rois * slices, apply, grain_for(rois * slices, work(piece)));
    }
    return;
  }
  const auto apply = [&](int64_t begin, int64_t end) {
    const Scratch<T> panels(room);
    for (int64_t i = begin; i < end; ++i) {
      const PanelPiece& piece = pieces[i];
      const int64_t pixels = piece.run.span.pixels();
      for (int64_t number = 0; number < panels_for<T>(piece.lanes); ++number) {
        engine<S>().pack(block(piece, number), pixels, panels.get() + number * pixels * kLanes<T>);
      }
      select_from_panels(
          plan, piece, panels.get(), 1, 0, piece.run.end - piece.run.begin, out, winner);
    }
  };
  parallel_for(count, apply, grain_for(count, all));
}

// Where they lie, by rows of bins; `rois` are places in the plan, and have about so many taps.
template <typename S, typename Lister>
void select_in_place(const SamplePlan<Lister>& plan, const std::vector<int64_t>& rois, int64_t taps,
    const std::vector<int64_t>& images, int64_t rows, const View<const S>& in, const View<S>& out,
    const View<int32_t>& winner) {
  const auto apply = [&](int64_t begin, int64_t end) {
    SampleLists<Accumulator<S>> own;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = rois[i / rows], roi = plan.roi(at);
      with_rows(plan.samples(at, own), slice_of(rows, i % rows, rows),
          out.block(roi, 0, out.channels), winner.block(roi, 0, out.channels),
          [&](const auto& row, const auto& values, const auto& winners) {
            max_engine<S>().select(row, in.block(images[roi], 0, in.channels), values, winners);
          });
    }
  };
  const auto roi_count = static_cast<int64_t>(rois.size());
  const int64_t count = roi_count * rows, work = (taps + roi_count * out.items) * in.channels;
  parallel_for(count, apply, grain_for(count, work));
}

template <typename S, typename Lister>
void select(const Lister& lister, const RoiList& rois, const View<const S>& in, const View<S>& out,
    const View<int32_t>& winner) {
  const SamplePlan<Lister> plan(lister, rois, true);
  std::vector<Run> packed;
  std::vector<int64_t> in_place;
  int64_t taps = 0;
  for (const Run& run : plan.runs()) {
    const int64_t run_taps = plan.tap_count(run);
    if (worth_panels<Accumulator<S>>(in, run_taps, run.span.pixels())) {
      packed.push_back(run);
      continue;
    }
    for (int64_t at = run.begin; at < run.end; ++at) {
      in_place.push_back(at);
    }
    taps += run_taps;
  }
  const int64_t rows = lister.bins().height;
  select_in_place(plan, in_place, taps, rois.image, rows, in, out, winner);
  select_packed(plan, packed, rows, in, out, winner);
}

// Channels of a map whose gradient one thread sums. Neighbours in memory are many, so that
// gradients are read by long rows; planes are few, if there are few; and fewer if threads would get
// no share.
template <typename T>
int64_t scatter_width(bool pixels, bool planes, int64_t images, int64_t channels) {
  if (!pixels) {
    return kLanes<T>;
  }
  if (planes) {
    return std::clamp<int64_t>(channels / 4, 1, kLanes<T>);
  }
  int64_t width = 4 * kLanes<T>;
  while (width > kLanes<T> && images * channels < threads() * width) {
    width /= 2;
  }
  return width;
}

// Sums, in the order of the map's memory, rounded to it.
template <typename S>
void narrow_pixels(const Accumulator<S>* sums, int64_t pixels, const Block<S>& map) {
  const bool rows = map.lane_stride == 1;
  const int64_t outer = rows ? pixels : map.lanes, inner = rows ? map.lanes : pixels;
  const int64_t outer_stride = rows ? map.item_stride : map.lane_stride;
  const int64_t inner_stride = rows ? map.lane_stride : map.item_stride;
  for (int64_t i = 0; i < outer; ++i) {
    S* const at = map.data + i * outer_stride;
    if (inner_stride == 1) {
      engine<S>().narrow(sums + i * inner, inner, at);
      continue;
    }
    for (int64_t j = 0; j < inner; ++j) {
      at[j * inner_stride] = static_cast<S>(sums[i * inner + j]);
    }
  }
}

// Winners that are named by their pixels need no samples. Planes take their sums where they lie.
template <typename S, typename Lister>
void scatter_to_pixels(const SamplePlan<Lister>& plan, const Run& run, int64_t channel,
    const View<const S>& grad, const View<const int32_t>& winner, Block<S> map,
    Accumulator<S>* scratch) {
  using T = Accumulator<S>;
  const int64_t pixels = run.span.pixels(), lanes = map.lanes;
  map.data += run.span.first * map.item_stride;
  const bool rows = map.lane_stride == 1;
  Block<T> sums{scratch, rows ? lanes : 1, rows ? 1 : pixels, lanes};
  bool in_place = false;
  if constexpr (std::is_same_v<S, T>) {
    in_place = map.item_stride == 1;
    sums = in_place ? map : sums;
  }
  if (in_place) {
    clear_pixels(map, 0, pixels);
  } else {
    std::fill_n(scratch, pixels * lanes, T(0));
  }
  // In the caller's order: then the rows that the engine prefetches are those of the next RoI too.
  std::vector<int64_t> rois;
  for (int64_t at = run.begin; at < run.end; ++at) {
    rois.push_back(plan.roi(at));
  }
  std::sort(rois.begin(), rois.end());
  for (const int64_t roi : rois) {
    max_engine<S>().scatter_pixels(grad.items, grad.block(roi, channel, lanes),
        winner.block(roi, channel, lanes), run.span.first, pixels, sums);
  }
  if (!in_place) {
    narrow_pixels<S>(scratch, pixels, map);
  }
}

template <typename S, typename Lister>
void scatter_to_panel(const SamplePlan<Lister>& plan, const Run& run, int64_t channel,
    const View<const S>& grad, const View<const int32_t>& winner, Block<S> map,
    Accumulator<S>* panel) {
  using T = Accumulator<S>;
  SampleLists<T> own;
  std::fill_n(panel, run.span.pixels() * kLanes<T>, T(0));
  for (int64_t at = run.begin; at < run.end; ++at) {
    const int64_t roi = plan.roi(at);
    max_engine<S>().scatter_panel(plan.samples(at, own), grad.block(roi, channel, map.lanes),
        winner.block(roi, channel, map.lanes), panel, run.span.first);
  }
  map.data += run.span.first * map.item_stride;
  engine<S>().unpack(panel, run.span.pixels(), map);
}

// One thread has all RoIs of an image for a block of channels: no races, and one rounding.
template <typename S, typename Lister>
void scatter_winners(const Lister& lister, const RoiList& rois, const View<const S>& grad,
    const View<const int32_t>& winner, const View<S>& in, int64_t images) {
  using T = Accumulator<S>;
  const SamplePlan<Lister> plan(lister, rois, !Lister::kPixels);
  const int64_t width =
      scatter_width<T>(Lister::kPixels, in.channel_stride != 1, images, in.channels);
  const int64_t room = Lister::kPixels ? std::min(width, in.channels) : width;
  const int64_t blocks = (in.channels + width - 1) / width;
  parallel_for(images * blocks, [&](int64_t begin, int64_t end) {
    const Scratch<T> scratch(most_pixels(plan.runs()) * room);
    for (int64_t piece = begin; piece < end; ++piece) {
      const Run run = plan.run_of(piece / blocks);
      const int64_t channel = piece % blocks * width;
      const Block<S> map = in.block(run.image, channel, std::min(width, in.channels - channel));
      if (run.span.pixels() == 0) {
        clear_pixels(map, 0, in.items);
        continue;
      }
      clear_pixels(map, 0, run.span.first);
      clear_pixels(map, run.span.end, in.items);
      if constexpr (Lister::kPixels) {
        scatter_to_pixels(plan, run, channel, grad, winner, map, scratch.get());
      } else {
        scatter_to_panel(plan, run, channel, grad, winner, map, scratch.get());
      }
    }
  });
}

}  // namespace roiops::cpu
