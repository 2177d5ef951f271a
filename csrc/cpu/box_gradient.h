// Backward by the boxes: the gradient by the entries of the tap matrix, then by the box.
#pragma once

#include "cpu/engine.h"
#include "cpu/tap_plan.h"

namespace roiops::cpu {

// box_grad [K, columns] and extra_grad [K, extra_size] in double, all of them written; the image
// column gets 0. One thread has all of a RoI, so the sums do not depend on the number of threads.
template <typename Taps, typename S>
void box_gradient(const Taps& prototype, const RoiList& rois, const View<const S>& grad,
    const View<const S>& in, double* box_grad, double* extra_grad) {
  using T = typename Taps::T;
  parallel_for(rois.count(), [&](int64_t begin, int64_t end) {
    Taps lister = prototype;
    const int64_t extras = lister.extra_size();
    std::vector<Tap<T>> taps;
    std::vector<int64_t> start;
    std::vector<T> products;
    std::vector<T> gradient;  // the box's, then the extra parameters'
    for (int64_t roi = begin; roi < end; ++roi) {
      lister.prepare(rois[roi]);
      taps.clear();
      start.assign(1, 0);
      lister.visit([&](int32_t pixel, const auto& tap) { taps.push_back({pixel, tap.weight()}); },
          [&] { start.push_back(static_cast<int64_t>(taps.size())); });
      products.resize(taps.size());
      engine<S>().products({lister.bins(), start.data(), taps.data()},
          grad.block(roi, 0, grad.channels), in.block(rois.image[roi], 0, in.channels),
          products.data());
      gradient.assign(Taps::kBoxColumns + extras, T(0));
      const T* product = products.data();
      lister.visit(
          [&](int32_t, const auto& tap) {
            tap.add_gradient(*product++, gradient.data(), gradient.data() + Taps::kBoxColumns);
          },
          [] {});
      double* const row = box_grad + roi * rois.columns;
      row[0] = 0;
      std::copy_n(gradient.data(), Taps::kBoxColumns, row + 1);
      std::copy_n(gradient.data() + Taps::kBoxColumns, extras, extra_grad + roi * extras);
    }
  });
}

}  // namespace roiops::cpu
