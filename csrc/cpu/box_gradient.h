// Backward by the boxes: the gradient by the entries of the tap matrix, then by the box.
#pragma once

#include <algorithm>
#include <vector>

#include "cpu/engine.h"
#include "cpu/packing.h"
#include "cpu/runs.h"
#include "cpu/tap_plan.h"

namespace roiops::cpu {

// Panels that are multiplied together: more would cost memory, fewer would add up each tap's
// product more often.
inline constexpr int64_t kProductPanels = 4;

// products[t] = sum over the channels of grad[bin of t] * in[pixel of t], read where they lie; for
// RoIs at these places in the plan, which have about so many taps, by rows of bins.
template <typename S, typename T>
void multiply_in_place(const TapChunk<T>& chunk, const std::vector<int64_t>& places, int64_t taps,
    const View<const S>& grad, const View<const S>& in, T* products) {
  const int64_t rows = chunk.grid.height, count = static_cast<int64_t>(places.size()) * rows;
  const auto apply = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = places[i / rows], row = i % rows, bin = row * chunk.grid.width;
      Block<const S> bins = grad.block(chunk.roi(at), 0, grad.channels);
      Block<const S> map = in.block(chunk.image(at), 0, in.channels);
      bins.data += bin * bins.item_stride;
      map.data += bin * map.bin_stride;
      engine<S>().products(chunk.part(at, row, 1), bins, map, products);
    }
  };
  parallel_for(count, apply, grain_for(count, taps * in.channels));
}

// The same for all RoIs of a run, from panels that they share.
template <typename S, typename T>
void multiply_panels(const TapChunk<T>& chunk, const Run& run, const View<const S>& grad,
    const View<const S>& in, T* products) {
  constexpr int64_t kGroupLanes = kProductPanels * kLanes<T>;
  const int64_t stride = run.span.pixels() * kLanes<T>, bin_stride = chunk.bins() * kLanes<T>;
  const int64_t rois = run.end - run.begin, rows = chunk.grid.height;
  const int64_t slices = row_slices(rois, rows, rois);
  const int64_t work = chunk.tap_count(run.begin, run.end) + rois * chunk.bins();
  const Scratch<T> panels(kProductPanels * stride);
  for (int64_t channel = 0; channel < in.channels; channel += kGroupLanes) {
    const int64_t lanes = std::min(kGroupLanes, in.channels - channel);
    const int64_t count = panels_for<T>(lanes);
    pack_together<S>(count, run.span.pixels(), panels.get(), [&](int64_t panel) {
      return spanned(panel_block<T>(in, run.image, channel, lanes, panel), run.span);
    });
    const auto multiply = [&](int64_t begin, int64_t end) {
      const Scratch<T> bins(kProductPanels * bin_stride);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t at = run.begin + i / slices;
        const Slice own = slice_of(rows, i % slices, slices);
        const RoiTaps<T> part = chunk.part(at, own.first, own.count);
        for (int64_t panel = 0; panel < count; ++panel) {
          Block<const S> from = panel_block<T>(grad, chunk.roi(at), channel, lanes, panel);
          from.data += own.first * chunk.grid.width * from.item_stride;
          engine<S>().pack(from, part.bins, bins.get() + panel * bin_stride);
        }
        if (channel == 0) {
          std::fill(products + part.start[0], products + part.stop[part.bins - 1], T(0));
        }
        engine<S>().add_products(part, {bins.get(), bin_stride, 0},
            {panels.get(), stride, run.span.first}, count, products);
      }
    };
    parallel_for(rois * slices, multiply, grain_for(rois * slices, work * lanes));
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
  std::vector<int64_t> in_place;
  int64_t taps_in_place = 0;
  for (const Run& run : bounded_runs(chunk)) {
    const int64_t pixels = run.span.pixels(), taps = chunk.tap_count(run.begin, run.end);
    if (pixels <= kMostPanelPixels<T> && worth_panels<T>(in, taps, pixels)) {
      multiply_panels(chunk, run, grad, in, products);
      continue;
    }
    for (int64_t at = run.begin; at < run.end; ++at) {
      in_place.push_back(at);
    }
    taps_in_place += taps;
  }
  multiply_in_place(chunk, in_place, taps_in_place, grad, in, products);
}

// The gradients of a chunk's RoIs from their taps' products. A row of bins has a sum of its own by
// the box, and is the only one that moves with its extra parameters.
template <typename Taps, typename T>
void add_gradients(const Taps& prototype, const TapChunk<T>& chunk, const T* products,
    double* box_grad, double* extra_grad) {
  constexpr int64_t kColumns = Taps::kBoxColumns;
  const RoiList& rois = chunk.plan.rois();
  const int64_t rows = chunk.grid.height, count = chunk.end - chunk.begin;
  const int64_t extras = prototype.extra_size(), first = chunk.begin * rows;
  const Scratch<T> by_box(count * rows * kColumns), by_extra(count * extras);
  std::fill_n(by_box.get(), count * rows * kColumns, T(0));
  std::fill_n(by_extra.get(), count * extras, T(0));
  const auto add = [&](Taps& lister, int64_t i, int32_t p) {
    const int64_t at = i / rows;
    const T* product = products + chunk.part(at, p, 1).start[0];
    T* const box = by_box.get() + (i - first) * kColumns;
    T* const extra = by_extra.get() + (at - chunk.begin) * extras;
    lister.visit(
        p, [&](int32_t, const auto& tap) { tap.add_gradient(*product++, box, extra); }, [] {});
  };
  parallel_for(
      count * rows,
      [&](int64_t begin, int64_t end) {
        for_each_row(prototype, rois, chunk.plan.order(), rows, first + begin, first + end, add);
      },
      grain_for(count * rows, kListingWork * chunk.tap_count(chunk.begin, chunk.end)));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t roi = chunk.roi(chunk.begin + i);
    double* const row = box_grad + roi * rois.columns;
    std::fill_n(row, rois.columns, 0.0);
    for (int64_t j = 0; j < rows * kColumns; ++j) {
      row[1 + j % kColumns] += by_box.get()[i * rows * kColumns + j];
    }
    std::copy_n(by_extra.get() + i * extras, extras, extra_grad + roi * extras);
  }
}

// box_grad [K, columns] and extra_grad [K, extra_size] in double, all of them written; the image
// column gets 0. One thread has all of a tap, and then of a row of bins, so the sums do not depend
// on the number of threads.
template <typename Taps, typename S>
void box_gradient(const Taps& prototype, const RoiList& rois, const View<const S>& grad,
    const View<const S>& in, double* box_grad, double* extra_grad) {
  using T = typename Taps::T;
  TapPlan(prototype, rois).for_each_chunk([&](const TapChunk<T>& chunk) {
    const Scratch<T> products(chunk.tap_count(chunk.begin, chunk.end));
    multiply(chunk, grad, in, products.get());
    add_gradients(prototype, chunk, products.get(), box_grad, extra_grad);
  });
}

}  // namespace roiops::cpu
