// Follows winners back to the features and to the boxes, over whole tensors.
#pragma once

#include <algorithm>
#include <vector>

#include "cpu/runtime.h"
#include "cpu/sample_taps.h"

namespace roiops::cpu {

// Calls body(lists, table, roi) for every RoI, on all threads; the table has a number for each tap.
template <typename Lister, typename Body>
void for_each_table(const Lister& lister, const RoiList& rois, Body&& body) {
  parallel_for(rois.count(), [&](int64_t begin, int64_t end) {
    SampleLists<typename Lister::T> lists;
    std::vector<typename Lister::T> table;
    for (int64_t roi = begin; roi < end; ++roi) {
      lister.list(rois[roi], lists);
      table.resize(kSampleTaps * lists.y.entries.size() * lists.x.entries.size());
      body(lists, table.data(), roi);
    }
  });
}

// weight(tap, roi) is the entry to apply for a tap of a winner.
template <typename S, typename Lister, typename Weight>
void gather_winners(const Lister& lister, const RoiList& rois, const View<const S>& in,
    const View<const int32_t>& winner, const View<S>& out, Weight&& weight) {
  for_each_table(lister, rois, [&](const auto& lists, auto* weights, int64_t roi) {
    lister.visit(lists, [&](int64_t t, const auto& tap) { weights[t] = weight(tap, roi); });
    max_engine<S>().gather(lister.samples(lists), weights,
        in.block(rois.image[roi], 0, in.channels), winner.block(roi, 0, winner.channels),
        out.block(roi, 0, out.channels));
  });
}

// box_grad [K, columns] in double, all of it written.
template <typename S, typename Lister>
void winner_box_gradient(const Lister& lister, const RoiList& rois, const View<const S>& grad,
    const View<const int32_t>& winner, const View<const S>& in, double* box_grad) {
  for_each_table(lister, rois, [&](const auto& lists, auto* products, int64_t roi) {
    max_engine<S>().products(lister.samples(lists), grad.block(roi, 0, grad.channels),
        winner.block(roi, 0, winner.channels), in.block(rois.image[roi], 0, in.channels), products);
    Accumulator<S> box[Lister::kBoxColumns] = {};
    lister.visit(
        lists, [&](int64_t t, const auto& tap) { tap.add_gradient(products[t], box, nullptr); });
    double* const row = box_grad + roi * rois.columns;
    row[0] = 0;
    std::copy_n(box, Lister::kBoxColumns, row + 1);
  });
}

}  // namespace roiops::cpu
