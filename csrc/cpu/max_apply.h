// Selects, and applies what was selected, over whole tensors. The image of a RoI has its channels
// apart (no position-sensitive operator takes a maximum).
#pragma once

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "cpu/engine.h"
#include "cpu/runtime.h"
#include "cpu/sample_taps.h"
#include "cpu/tap_plan.h"

namespace roiops::cpu {

inline constexpr auto kValue = [](const auto& tap) { return tap.weight(); };

// Calls body(list, roi) for every RoI, on all threads; list is the thread's own.
template <typename Lister, typename Body>
void for_each_roi(const Lister& lister, const RoiList& rois, Body&& body) {
  parallel_for(rois.count(), [&](int64_t begin, int64_t end) {
    SampleList<Lister> list(lister);
    for (int64_t roi = begin; roi < end; ++roi) {
      body(list, roi);
    }
  });
}

// Some RoIs of one image, with their samples.
template <typename Lister>
struct SampleChunk {
  using T = typename Lister::T;
  int64_t image;
  std::vector<int64_t> rois;
  std::vector<SampleList<Lister>> lists;
  std::vector<RoiSamples<T>> samples;
  PixelSpan span;
  int64_t taps = 0;
};

// Calls body(chunk) for all RoIs, image by image, about kChunkTaps at a time: see NOTE [Chunks].
template <typename Lister, typename Body>
void for_each_sample_chunk(const Lister& lister, const RoiList& rois, Body&& body) {
  std::vector<int64_t> order(rois.count()), cost(rois.count());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
      [&](int64_t a, int64_t b) { return rois.image[a] < rois.image[b]; });
  parallel_for(rois.count(), [&](int64_t begin, int64_t end) {
    Lister counter = lister;
    for (int64_t roi = begin; roi < end; ++roi) {
      counter.prepare(rois[roi]);
      cost[roi] = counter.size() + counter.bins();
    }
  });
  for (size_t begin = 0; begin < order.size();) {
    SampleChunk<Lister> chunk{rois.image[order[begin]], {}, {}, {}, {}};
    int64_t total = 0;
    for (size_t at = begin; at < order.size(); ++at) {
      const int64_t roi = order[at];
      total += cost[roi];
      if (at > begin && (total > kChunkTaps || rois.image[roi] != chunk.image)) {
        break;
      }
      chunk.rois.push_back(roi);
    }
    begin += chunk.rois.size();
    chunk.lists.assign(chunk.rois.size(), SampleList<Lister>(lister));
    chunk.samples.resize(chunk.rois.size());
    parallel_for(static_cast<int64_t>(chunk.rois.size()), [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        chunk.samples[i] = chunk.lists[i].list(rois[chunk.rois[i]], kValue);
      }
    });
    for (const SampleList<Lister>& list : chunk.lists) {
      chunk.span.add(list.span());
      chunk.taps += list.tap_count();
    }
    body(chunk);
  }
}

// Where many taps share their pixels: from panels, as gather_chunk.
template <typename S, typename Lister>
void select_from_panels(const SampleChunk<Lister>& chunk, const View<const S>& in,
    const View<S>& out, const View<int32_t>& winner) {
  using T = Accumulator<S>;
  const int64_t pixels = chunk.span.pixels();
  parallel_for((out.channels + kLanes<T> - 1) / kLanes<T>, [&](int64_t begin, int64_t end) {
    const std::unique_ptr<T[]> panel(new T[pixels * kLanes<T>]);
    for (int64_t channel = begin * kLanes<T>; channel < end * kLanes<T>; channel += kLanes<T>) {
      const int64_t lanes = std::min<int64_t>(kLanes<T>, out.channels - channel);
      if (lanes <= 0) {
        break;
      }
      Block<const S> map = in.block(chunk.image, channel, lanes);
      map.data += chunk.span.first * map.item_stride;
      engine<S>().pack(map, pixels, panel.get());
      for (size_t i = 0; i < chunk.rois.size(); ++i) {
        const int64_t roi = chunk.rois[i];
        max_engine<S>().select_panel(chunk.samples[i], panel.get(), chunk.span.first,
            out.block(roi, channel, lanes), winner.block(roi, channel, lanes));
      }
    }
  });
}

template <typename S, typename Lister>
void select_chunk(const SampleChunk<Lister>& chunk, const View<const S>& in, const View<S>& out,
    const View<int32_t>& winner) {
  if (chunk.span.pixels() > 0 && chunk.taps > chunk.span.pixels()) {
    select_from_panels(chunk, in, out, winner);
    return;
  }
  parallel_for(static_cast<int64_t>(chunk.rois.size()), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t roi = chunk.rois[i];
      max_engine<S>().select(chunk.samples[i], in.block(chunk.image, 0, in.channels),
          out.block(roi, 0, out.channels), winner.block(roi, 0, winner.channels));
    }
  });
}

template <typename S, typename Lister>
void select(const Lister& lister, const RoiList& rois, const View<const S>& in, const View<S>& out,
    const View<int32_t>& winner) {
  if (in.channel_stride != 1 && in.channels >= kFewLanes<Accumulator<S>>) {
    for_each_sample_chunk(
        lister, rois, [&](const auto& chunk) { select_chunk(chunk, in, out, winner); });
    return;
  }
  for_each_roi(lister, rois, [&](auto& list, int64_t roi) {
    max_engine<S>().select(list.list(rois[roi], kValue), in.block(rois.image[roi], 0, in.channels),
        out.block(roi, 0, out.channels), winner.block(roi, 0, winner.channels));
  });
}

// weight(tap, roi) is the entry to apply for a tap of a winner.
template <typename S, typename Lister, typename Weight>
void gather_winners(const Lister& lister, const RoiList& rois, const View<const S>& in,
    const View<const int32_t>& winner, const View<S>& out, Weight&& weight) {
  for_each_roi(lister, rois, [&](auto& list, int64_t roi) {
    const auto samples = list.list(rois[roi], [&](const auto& tap) { return weight(tap, roi); });
    max_engine<S>().gather(samples, in.block(rois.image[roi], 0, in.channels),
        winner.block(roi, 0, winner.channels), out.block(roi, 0, out.channels));
  });
}

// One thread has all RoIs of an image for a block of channels: no races, and one rounding. Winners
// that are named by their pixels need no samples, and planes no panel.
template <typename S, typename Lister>
void scatter_winners(const Lister& lister, const RoiList& rois, const View<const S>& grad,
    const View<const int32_t>& winner, const View<S>& in, int64_t images) {
  using T = Accumulator<S>;
  const int64_t blocks = (in.channels + kLanes<T> - 1) / kLanes<T>;
  const bool planes = Lister::kPixels && in.channel_stride != 1;
  parallel_for(images * blocks, [&](int64_t begin, int64_t end) {
    const std::unique_ptr<T[]> panel(new T[in.items * kLanes<T>]);
    SampleList<Lister> list(lister);
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t image = piece / blocks, channel = piece % blocks * kLanes<T>;
      const int64_t lanes = std::min<int64_t>(kLanes<T>, in.channels - channel);
      const Block<T> sums = planes ? Block<T>{panel.get(), 1, in.items, lanes}
                                   : Block<T>{panel.get(), kLanes<T>, 1, lanes};
      std::fill_n(panel.get(), in.items * kLanes<T>, T(0));
      for (int64_t roi = 0; roi < rois.count(); ++roi) {
        if (rois.image[roi] != image) {
          continue;
        }
        const Block<const S> g = grad.block(roi, channel, lanes);
        const Block<const int32_t> names = winner.block(roi, channel, lanes);
        if constexpr (Lister::kPixels) {
          max_engine<S>().scatter_pixels(grad.items, g, names, in.items, sums);
        } else {
          max_engine<S>().scatter(list.list(rois[roi], kValue), g, names, panel.get());
        }
      }
      const Block<S> map = in.block(image, channel, lanes);
      if (!planes) {
        engine<S>().unpack(panel.get(), in.items, map);
      }
      for (int64_t i = 0; planes && i < lanes * in.items; ++i) {
        map.data[i / in.items * map.lane_stride + i % in.items * map.item_stride] =
            static_cast<S>(panel[i]);
      }
    }
  });
}

// box_grad [K, columns] in double, all of it written.
template <typename S, typename Lister>
void winner_box_gradient(const Lister& lister, const RoiList& rois, const View<const S>& grad,
    const View<const int32_t>& winner, const View<const S>& in, double* box_grad) {
  using T = Accumulator<S>;
  for_each_roi(lister, rois, [&](auto& list, int64_t roi) {
    const auto samples = list.list(rois[roi], kValue);
    std::vector<T> products(list.tap_count());
    max_engine<S>().products(samples, grad.block(roi, 0, grad.channels),
        winner.block(roi, 0, winner.channels), in.block(rois.image[roi], 0, in.channels),
        products.data());
    T box[Lister::kBoxColumns] = {};
    const T* product = products.data();
    list.lister().visit(
        [&](int32_t, const auto& tap) { tap.add_gradient(*product++, box, nullptr); },
        [](int32_t) {}, [] {});
    double* const row = box_grad + roi * rois.columns;
    row[0] = 0;
    std::copy_n(box, Lister::kBoxColumns, row + 1);
  });
}

}  // namespace roiops::cpu
