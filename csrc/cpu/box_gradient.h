// Backward by the boxes: the gradient by the entries of the tap matrix, then by the box.
#pragma once

#include <algorithm>
#include <vector>

#include "cpu/engine.h"
#include "cpu/runs.h"
#include "cpu/tap_plan.h"

namespace roiops::cpu {

// Panels that are multiplied together: more would cost memory, fewer would add up each tap's
// product more often.
inline constexpr int64_t kProductPanels = 4;

// products[t] = sum over the channels of grad[bin of t] * in[pixel of t], read where they lie; for
// RoIs at these places in the plan.
template <typename S, typename T>
void multiply_in_place(const TapChunk<T>& chunk, const std::vector<int64_t>& places,
    const View<const S>& grad, const View<const S>& in, T* products) {
  parallel_for(static_cast<int64_t>(places.size()), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t roi = chunk.order[places[i]];
      engine<S>().products(chunk.of(places[i]), grad.block(roi, 0, grad.channels),
          in.block(chunk.rois.image[roi], 0, in.channels), products);
    }
  });
}

// Some channels of the pixels that a run reads: from this one on, as many panels as there are.
struct PanelGroup {
  int64_t channel, lanes, panels;
};

// The channels of a panel of the group.
template <typename T, typename S>
Block<const S> panel_block(
    const View<const S>& view, int64_t outer, const PanelGroup& group, int64_t panel) {
  const int64_t lane = panel * kLanes<T>;
  return view.block(outer, group.channel + lane, std::min<int64_t>(kLanes<T>, group.lanes - lane));
}

// All threads pack, a piece of a panel each.
template <typename S, typename T>
void pack_group(const View<const S>& in, const Run& run, const PanelGroup& group, T* panels) {
  constexpr int64_t kPackedPixels = 4096;
  const int64_t pixels = run.span.pixels();
  const int64_t pieces = (pixels + kPackedPixels - 1) / kPackedPixels;
  parallel_for(group.panels * pieces, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t panel = i / pieces, first = i % pieces * kPackedPixels;
      Block<const S> map = spanned(panel_block<T>(in, run.image, group, panel), run.span);
      map.data += first * map.item_stride;
      engine<S>().pack(map, std::min(kPackedPixels, pixels - first),
          panels + (panel * pixels + first) * kLanes<T>);
    }
  });
}

// The same for all RoIs of a run, from panels that they share.
template <typename S, typename T>
void multiply_panels(const TapChunk<T>& chunk, const Run& run, const View<const S>& grad,
    const View<const S>& in, T* products) {
  constexpr int64_t kGroupLanes = kProductPanels * kLanes<T>;
  const int64_t stride = run.span.pixels() * kLanes<T>, bin_stride = chunk.bins * kLanes<T>;
  const Scratch<T> panels(kProductPanels * stride);
  for (int64_t channel = 0; channel < in.channels; channel += kGroupLanes) {
    const int64_t lanes = std::min(kGroupLanes, in.channels - channel);
    const PanelGroup group = {channel, lanes, (lanes + kLanes<T> - 1) / kLanes<T>};
    pack_group(in, run, group, panels.get());
    parallel_for(run.end - run.begin, [&](int64_t begin, int64_t end) {
      const Scratch<T> bins(kProductPanels * bin_stride);
      for (int64_t at = run.begin + begin; at < run.begin + end; ++at) {
        const RoiTaps<T> roi = chunk.of(at);
        for (int64_t panel = 0; panel < group.panels; ++panel) {
          engine<S>().pack(panel_block<T>(grad, chunk.order[at], group, panel), roi.bins,
              bins.get() + panel * bin_stride);
        }
        if (channel == 0) {
          std::fill(products + roi.start[0], products + roi.start[roi.bins], T(0));
        }
        engine<S>().add_products(roi, {bins.get(), bin_stride, 0},
            {panels.get(), stride, run.span.first}, group.panels, products);
      }
    });
  }
}

// Pixels of which a thread keeps the panels for its next call.
template <typename T>
inline constexpr int64_t kMostPanelPixels =
    int64_t{kKeptScratch} / (kProductPanels * kLanes<T> * int64_t{sizeof(T)});

// Runs whose panels are bounded, unless a single RoI's are not.
template <typename T>
std::vector<Run> bounded_runs(const TapChunk<T>& chunk) {
  std::vector<Run> result;
  for (const Run& run : runs_of(chunk)) {
    Run part = {run.level, run.image, run.begin, run.begin, {}};
    for (int64_t at = run.begin; at < run.end; ++at) {
      PixelSpan span = part.span;
      span.add(chunk.span(at));
      if (at > part.begin && span.pixels() > kMostPanelPixels<T>) {
        result.push_back(part);
        part.begin = at;
        span = chunk.span(at);
      }
      part.span = span;
      part.end = at + 1;
    }
    result.push_back(part);
  }
  return result;
}

// Panels are worth packing for many taps, unless channels are neighbours in memory anyway.
template <typename S, typename T>
void multiply(
    const TapChunk<T>& chunk, const View<const S>& grad, const View<const S>& in, T* products) {
  const bool planes = in.bin_stride == 0 && !has_channels_last(in) && in.channels >= kFewLanes<T>;
  std::vector<int64_t> in_place;
  for (const Run& run : bounded_runs(chunk)) {
    const int64_t pixels = run.span.pixels();
    if (planes && pixels <= kMostPanelPixels<T> && chunk.tap_count(run.begin, run.end) > pixels) {
      multiply_panels(chunk, run, grad, in, products);
      continue;
    }
    for (int64_t at = run.begin; at < run.end; ++at) {
      in_place.push_back(at);
    }
  }
  multiply_in_place(chunk, in_place, grad, in, products);
}

// box_grad [K, columns] and extra_grad [K, extra_size] in double, all of them written; the image
// column gets 0. One thread has all of a tap, and then of a RoI, so the sums do not depend on the
// number of threads.
template <typename Taps, typename S>
void box_gradient(const Taps& prototype, const RoiList& rois, const View<const S>& grad,
    const View<const S>& in, double* box_grad, double* extra_grad) {
  using T = typename Taps::T;
  TapPlan(prototype, rois).for_each_chunk([&](const TapChunk<T>& chunk) {
    const Scratch<T> products(chunk.tap_count(chunk.begin, chunk.end));
    multiply(chunk, grad, in, products.get());
    parallel_for(
        chunk.end - chunk.begin,
        [&](int64_t begin, int64_t end) {
          Taps lister = prototype;
          const int64_t extras = lister.extra_size();
          std::vector<T> gradient;  // the box's, then the extra parameters'
          for (int64_t at = chunk.begin + begin; at < chunk.begin + end; ++at) {
            const int64_t roi = chunk.order[at];
            const T* product = products.get() + chunk.of(at).start[0];
            gradient.assign(Taps::kBoxColumns + extras, T(0));
            lister.prepare(rois[roi]);
            lister.visit(
                [&](int32_t, const auto& tap) {
                  tap.add_gradient(
                      *product++, gradient.data(), gradient.data() + Taps::kBoxColumns);
                },
                [] {});
            double* const row = box_grad + roi * rois.columns;
            row[0] = 0;
            std::copy_n(gradient.data(), Taps::kBoxColumns, row + 1);
            std::copy_n(gradient.data() + Taps::kBoxColumns, extras, extra_grad + roi * extras);
          }
        },
        kRoiGrain);
  });
}

}  // namespace roiops::cpu
