// Selects, and scatters to what was selected, over whole tensors. The image of a RoI has its
// channels apart (no position-sensitive operator takes a maximum).
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "cpu/engine.h"
#include "cpu/runtime.h"
#include "cpu/sample_taps.h"

namespace roiops::cpu {

// Consecutive RoIs of the plan that read one image.
struct SampleRun {
  int64_t image, begin, end;
  PixelSpan span;
  int64_t taps;  // at most
};

// The samples of all RoIs, in order of image and height. In contrast to taps they are listed by
// axis, which is little beside the results: no chunks.
template <typename Lister>
class SamplePlan {
 public:
  using T = typename Lister::T;

  SamplePlan(const Lister& lister, const RoiList& rois)
      : lister_(lister), rois_(rois), order_(cpu::order(rois)), lists_(order_.size()) {
    parallel_for(count(), [&](int64_t begin, int64_t end) {
      for (int64_t at = begin; at < end; ++at) {
        lister_.list(rois_[order_[at]], lists_[at]);
      }
    });
    for (int64_t at = 0; at < count(); ++at) {
      const int64_t image = rois.image[order_[at]];
      if (runs_.empty() || runs_.back().image != image) {
        runs_.push_back({image, at, at, {}, 0});
      }
      runs_.back().end = at + 1;
      runs_.back().span.add(lister_.span(lists_[at]));
      runs_.back().taps += Lister::size(lists_[at]);
    }
  }

  int64_t count() const {
    return static_cast<int64_t>(order_.size());
  }
  int64_t roi(int64_t at) const {
    return order_[at];
  }
  int64_t image(int64_t at) const {
    return rois_.image[order_[at]];
  }
  RoiSamples<T> operator[](int64_t at) const {
    return lister_.samples(lists_[at]);
  }
  const std::vector<SampleRun>& runs() const {
    return runs_;
  }
  // Of the largest run.
  int64_t max_pixels() const {
    int64_t pixels = 0;
    for (const SampleRun& run : runs_) {
      pixels = std::max(pixels, run.span.pixels());
    }
    return pixels;
  }
  SampleRun run_of(int64_t image) const {
    for (const SampleRun& run : runs_) {
      if (run.image == image) {
        return run;
      }
    }
    return {image, 0, 0, {}, 0};
  }

 private:
  Lister lister_;
  const RoiList& rois_;
  std::vector<int64_t> order_;
  std::vector<SampleLists<T>> lists_;  // in plan order
  std::vector<SampleRun> runs_;
};

// Where many taps share their pixels: from panels, as gather_chunk.
template <typename S, typename Lister>
void select_from_panels(const SamplePlan<Lister>& plan, const std::vector<SampleRun>& runs,
    const View<const S>& in, const View<S>& out, const View<int32_t>& winner) {
  using T = Accumulator<S>;
  const int64_t width = kSelectPanels * kLanes<T>;
  const int64_t blocks = (in.channels + width - 1) / width;
  const int64_t stride = plan.max_pixels() * kLanes<T>;
  parallel_for(static_cast<int64_t>(runs.size()) * blocks, [&](int64_t begin, int64_t end) {
    const std::unique_ptr<T[]> panels(new T[kSelectPanels * stride]);
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
        max_engine<S>().select_panels(plan[at], {panels.get(), stride, run.span.first},
            out.block(plan.roi(at), channel, lanes), winner.block(plan.roi(at), channel, lanes));
      }
    }
  });
}

// Where they lie, by rows of bins.
template <typename S, typename Lister>
void select_in_place(const SamplePlan<Lister>& plan, const SampleRun& run, const View<const S>& in,
    const View<S>& out, const View<int32_t>& winner) {
  const int64_t rows = plan[run.begin].y.bins;
  parallel_for((run.end - run.begin) * rows, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t at = run.begin + piece / rows, row = piece % rows;
      RoiSamples<Accumulator<S>> roi = plan[at];
      roi.y = {1, roi.y.start + row, roi.y.samples};
      Block<S> values = out.block(plan.roi(at), 0, out.channels);
      Block<int32_t> names = winner.block(plan.roi(at), 0, out.channels);
      values.data += row * roi.x.bins * values.item_stride;
      names.data += row * roi.x.bins * names.item_stride;
      max_engine<S>().select(roi, in.block(run.image, 0, in.channels), values, names);
    }
  });
}

template <typename S, typename Lister>
void select(const Lister& lister, const RoiList& rois, const View<const S>& in, const View<S>& out,
    const View<int32_t>& winner) {
  const SamplePlan<Lister> plan(lister, rois);
  const bool planes = in.channel_stride != 1 && in.channels >= kFewLanes<Accumulator<S>>;
  std::vector<SampleRun> packed;
  for (const SampleRun& run : plan.runs()) {
    if (planes && run.span.pixels() > 0 && run.taps > run.span.pixels()) {
      packed.push_back(run);
    } else {
      select_in_place(plan, run, in, out, winner);
    }
  }
  select_from_panels(plan, packed, in, out, winner);
}

// Channels of a map whose gradient one thread sums. Neighbours in memory are many, so that
// gradients are read by long rows.
template <typename T>
int64_t scatter_width(bool pixels, bool planes) {
  return pixels && !planes ? 4 * kLanes<T> : kLanes<T>;
}

template <typename S>
void fill_zero(const Block<S>& map, int64_t first, int64_t end) {
  const bool rows = map.lane_stride == 1;
  const int64_t outer = rows ? end - first : map.lanes, inner = rows ? map.lanes : end - first;
  S* const data = map.data + first * map.item_stride;
  for (int64_t i = 0; i < outer; ++i) {
    for (int64_t j = 0; j < inner; ++j) {
      data[i * (rows ? map.item_stride : map.lane_stride) +
           j * (rows ? map.lane_stride : map.item_stride)] = S(0);
    }
  }
}

// Winners that are named by their pixels need no samples; sums lie as the map does.
template <typename S, typename Lister>
void scatter_to_pixels(const SamplePlan<Lister>& plan, const SampleRun& run, int64_t channel,
    const View<const S>& grad, const View<const int32_t>& winner, const Block<S>& map,
    Accumulator<S>* scratch) {
  using T = Accumulator<S>;
  const int64_t pixels = run.span.pixels(), lanes = map.lanes;
  const bool rows = map.lane_stride == 1;
  const Block<T> sums{scratch, rows ? lanes : 1, rows ? 1 : pixels, lanes, 0, run.span.first};
  std::fill_n(scratch, pixels * lanes, T(0));
  // In the caller's order: then the rows that the engine prefetches are those of the next RoI too.
  std::vector<int64_t> rois;
  for (int64_t at = run.begin; at < run.end; ++at) {
    rois.push_back(plan.roi(at));
  }
  std::sort(rois.begin(), rois.end());
  for (const int64_t roi : rois) {
    max_engine<S>().scatter_pixels(grad.items, grad.block(roi, channel, lanes),
        winner.block(roi, channel, lanes), pixels, sums);
  }
  const int64_t outer = rows ? pixels : lanes, inner = rows ? lanes : pixels;
  const int64_t outer_stride = rows ? map.item_stride : map.lane_stride;
  const int64_t inner_stride = rows ? map.lane_stride : map.item_stride;
  S* const to = map.data + run.span.first * map.item_stride;
  for (int64_t i = 0; i < outer; ++i) {
    for (int64_t j = 0; j < inner; ++j) {
      to[i * outer_stride + j * inner_stride] = static_cast<S>(scratch[i * inner + j]);
    }
  }
}

template <typename S, typename Lister>
void scatter_to_panel(const SamplePlan<Lister>& plan, const SampleRun& run, int64_t channel,
    const View<const S>& grad, const View<const int32_t>& winner, Block<S> map,
    Accumulator<S>* panel) {
  using T = Accumulator<S>;
  std::fill_n(panel, run.span.pixels() * kLanes<T>, T(0));
  for (int64_t at = run.begin; at < run.end; ++at) {
    const int64_t roi = plan.roi(at);
    max_engine<S>().scatter_panel(plan[at], grad.block(roi, channel, map.lanes),
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
  const SamplePlan<Lister> plan(lister, rois);
  const int64_t width = scatter_width<T>(Lister::kPixels, in.channel_stride != 1);
  const int64_t blocks = (in.channels + width - 1) / width;
  parallel_for(images * blocks, [&](int64_t begin, int64_t end) {
    const std::unique_ptr<T[]> scratch(new T[plan.max_pixels() * width]);
    for (int64_t piece = begin; piece < end; ++piece) {
      const SampleRun run = plan.run_of(piece / blocks);
      const int64_t channel = piece % blocks * width;
      const Block<S> map = in.block(run.image, channel, std::min(width, in.channels - channel));
      if (run.span.pixels() == 0) {
        fill_zero(map, 0, in.items);
        continue;
      }
      fill_zero(map, 0, run.span.first);
      fill_zero(map, run.span.end, in.items);
      if constexpr (Lister::kPixels) {
        scatter_to_pixels(plan, run, channel, grad, winner, map, scratch.get());
      } else {
        scatter_to_panel(plan, run, channel, grad, winner, map, scratch.get());
      }
    }
  });
}

}  // namespace roiops::cpu
