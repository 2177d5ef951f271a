// Selects, and applies what was selected, over whole tensors. The image of a RoI has its channels
// apart (no position-sensitive operator takes a maximum).
#pragma once

#include <algorithm>
#include <memory>

#include "cpu/engine.h"
#include "cpu/runtime.h"
#include "cpu/sample_taps.h"

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

template <typename S, typename Lister>
void select(const Lister& lister, const RoiList& rois, const View<const S>& in, const View<S>& out,
    const View<int32_t>& winner) {
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

// One thread has all RoIs of an image for a block of channels: no races, and one rounding.
template <typename S, typename Lister>
void scatter_winners(const Lister& lister, const RoiList& rois, const View<const S>& grad,
    const View<const int32_t>& winner, const View<S>& in, int64_t images) {
  using T = Accumulator<S>;
  const int64_t blocks = (in.channels + kLanes<T> - 1) / kLanes<T>;
  parallel_for(images * blocks, [&](int64_t begin, int64_t end) {
    const std::unique_ptr<T[]> panel(new T[in.items * kLanes<T>]);
    SampleList<Lister> list(lister);
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t image = piece / blocks, channel = piece % blocks * kLanes<T>;
      const int64_t lanes = std::min<int64_t>(kLanes<T>, in.channels - channel);
      std::fill_n(panel.get(), in.items * kLanes<T>, T(0));
      for (int64_t roi = 0; roi < rois.count(); ++roi) {
        if (rois.image[roi] == image) {
          max_engine<S>().scatter(list.list(rois[roi], kValue), grad.block(roi, channel, lanes),
              winner.block(roi, channel, lanes), panel.get());
        }
      }
      engine<S>().unpack(panel.get(), in.items, in.block(image, channel, lanes));
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
