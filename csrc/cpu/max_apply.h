// Selects, and scatters to what was selected, over whole tensors. The image of a RoI has its
// channels apart (no position-sensitive operator takes a maximum).
#pragma once

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "cpu/clear.h"
#include "cpu/engine.h"
#include "cpu/sample_taps.h"
#include "cpu/scratch.h"

namespace roiops::cpu {

// Consecutive RoIs of the plan that read one image.
struct SampleRun {
  int64_t image, begin, end;
  PixelSpan span;
  int64_t taps;  // at most
};

// The samples of all RoIs, see order(). Up to kChunkTaps are listed once for all
// channels; whoever needs others lists them again, so that memory is bounded.
template <typename Lister>
class SamplePlan {
 public:
  using T = typename Lister::T;
  using Lists = SampleLists<T>;

  // keep: whether samples will be asked for.
  SamplePlan(const Lister& lister, const RoiList& rois, bool keep)
      : lister_(lister), rois_(rois), order_(cpu::order(rois)), lists_(keep ? order_.size() : 0) {
    std::vector<PixelSpan> spans(order_.size());
    std::vector<int64_t> taps(order_.size());
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
        taps[at] = Lister::size(lists);
        if (listed.fetch_add(lists.size()) < kChunkTaps) {
          lists_[at] = std::move(lists);
        }
      }
    };
    parallel_for(static_cast<int64_t>(order_.size()), list, kRoiGrain);
    for (size_t at = 0; at < order_.size(); ++at) {
      const int64_t image = rois.image[order_[at]], next = static_cast<int64_t>(at);
      if (runs_.empty() || runs_.back().image != image) {
        runs_.push_back({image, next, next, {}, 0});
      }
      runs_.back().end = next + 1;
      runs_.back().span.add(spans[at]);
      runs_.back().taps += taps[at];
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
  const std::vector<SampleRun>& runs() const {
    return runs_;
  }
  SampleRun run_of(int64_t image) const {
    const auto at = std::lower_bound(runs_.begin(), runs_.end(), image,
        [](const SampleRun& run, int64_t wanted) { return run.image < wanted; });
    return at != runs_.end() && at->image == image ? *at : SampleRun{image, 0, 0, {}, 0};
  }

 private:
  Lister lister_;
  const RoiList& rois_;
  std::vector<int64_t> order_;
  std::vector<Lists> lists_;  // in plan order
  std::vector<SampleRun> runs_;
};

// Of the largest run.
inline int64_t most_pixels(const std::vector<SampleRun>& runs) {
  int64_t pixels = 0;
  for (const SampleRun& run : runs) {
    pixels = std::max(pixels, run.span.pixels());
  }
  return pixels;
}

// Where many taps share their pixels: from panels, as gather_chunk.
template <typename S, typename Lister>
void select_from_panels(const SamplePlan<Lister>& plan, const std::vector<SampleRun>& runs,
    const View<const S>& in, const View<S>& out, const View<int32_t>& winner) {
  using T = Accumulator<S>;
  const int64_t width = kSelectPanels * kLanes<T>;
  const int64_t blocks = (in.channels + width - 1) / width;
  const int64_t stride = most_pixels(runs) * kLanes<T>;
  parallel_for(static_cast<int64_t>(runs.size()) * blocks, [&](int64_t begin, int64_t end) {
    const Scratch<T> panels(kSelectPanels * stride);
    SampleLists<T> own;
    for (int64_t piece = begin; piece < end; ++piece) {
      const SampleRun& run = runs[piece / blocks];
      const int64_t channel = piece % blocks * width;
      const int64_t lanes = std::min(width, in.channels - channel);
      for (int64_t lane = 0; lane < lanes; lane += kLanes<T>) {
        Block<const S> map =
            in.block(run.image, channel + lane, std::min<int64_t>(kLanes<T>, lanes - lane));
        map.data += run.span.first * map.item_stride;
        engine<S>().pack(map, run.span.pixels(), panels.get() + lane / kLanes<T> * stride);
      }
      for (int64_t at = run.begin; at < run.end; ++at) {
        max_engine<S>().select_panels(plan.samples(at, own), {panels.get(), stride, run.span.first},
            out.block(plan.roi(at), channel, lanes), winner.block(plan.roi(at), channel, lanes));
      }
    }
  });
}

// Where they lie, by rows of bins; `rois` are places in the plan, and have about so many taps.
template <typename S, typename Lister>
void select_in_place(const SamplePlan<Lister>& plan, const std::vector<int64_t>& rois, int64_t taps,
    const std::vector<int64_t>& images, int64_t rows, const View<const S>& in, const View<S>& out,
    const View<int32_t>& winner) {
  const auto apply = [&](int64_t begin, int64_t end) {
    SampleLists<Accumulator<S>> own;
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t at = rois[piece / rows], row = piece % rows, number = plan.roi(at);
      RoiSamples<Accumulator<S>> roi = plan.samples(at, own);
      roi.y = {1, roi.y.start + row, roi.y.samples};
      Block<S> values = out.block(number, 0, out.channels);
      Block<int32_t> names = winner.block(number, 0, out.channels);
      values.data += row * roi.x.bins * values.item_stride;
      names.data += row * roi.x.bins * names.item_stride;
      max_engine<S>().select(roi, in.block(images[number], 0, in.channels), values, names);
    }
  };
  const int64_t count = static_cast<int64_t>(rois.size()) * rows;
  parallel_for(count, apply, grain_for(count, taps * in.channels));
}

template <typename S, typename Lister>
void select(const Lister& lister, const RoiList& rois, const View<const S>& in, const View<S>& out,
    const View<int32_t>& winner) {
  const SamplePlan<Lister> plan(lister, rois, true);
  const bool planes = in.channel_stride != 1 && in.channels >= kFewLanes<Accumulator<S>>;
  std::vector<SampleRun> packed;
  std::vector<int64_t> in_place;
  int64_t taps = 0;
  for (const SampleRun& run : plan.runs()) {
    if (planes && run.span.pixels() > 0 && run.taps > run.span.pixels()) {
      packed.push_back(run);
      continue;
    }
    for (int64_t at = run.begin; at < run.end; ++at) {
      in_place.push_back(at);
    }
    taps += run.taps;
  }
  select_in_place(plan, in_place, taps, rois.image, lister.bins().height, in, out, winner);
  select_from_panels(plan, packed, in, out, winner);
}

// Channels of a map whose gradient one thread sums. Neighbours in memory are many, so that
// gradients are read by long rows; planes are few, if there are few, so that there is a share for
// every thread.
template <typename T>
int64_t scatter_width(bool pixels, bool planes, int64_t channels) {
  if (!pixels) {
    return kLanes<T>;
  }
  return planes ? std::clamp<int64_t>(channels / 4, 1, kLanes<T>) : 4 * kLanes<T>;
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
void scatter_to_pixels(const SamplePlan<Lister>& plan, const SampleRun& run, int64_t channel,
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
void scatter_to_panel(const SamplePlan<Lister>& plan, const SampleRun& run, int64_t channel,
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
  const int64_t width = scatter_width<T>(Lister::kPixels, in.channel_stride != 1, in.channels);
  const int64_t room = Lister::kPixels ? std::min(width, in.channels) : width;
  const int64_t blocks = (in.channels + width - 1) / width;
  parallel_for(images * blocks, [&](int64_t begin, int64_t end) {
    const Scratch<T> scratch(most_pixels(plan.runs()) * room);
    for (int64_t piece = begin; piece < end; ++piece) {
      const SampleRun run = plan.run_of(piece / blocks);
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
