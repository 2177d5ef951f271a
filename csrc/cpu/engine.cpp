// See NOTE [Engine].
#include "cpu/engine.h"
#include "cpu/isa.h"

namespace roiops::cpu::ROIOPS_ISA {
namespace {

#include "cpu/vec.h"
// after the vectors
#include "cpu/panel.h"
#include "cpu/sums.h"

// Neighbouring lanes on both sides: as many vectors at a time as registers hold. The last ones
// overlap.
template <typename S, typename Roi, typename T = Accumulator<S>>
void gather_rows(const Roi& roi, const Block<const S>& in, const Block<S>& out) {
  constexpr int32_t kMany = kVectorBytes == 64 ? 8 : 4;
  const auto sum = [&]<int32_t kCount>(int64_t bin, int64_t lane) {
    SumsOf<kCount, S> sums;
    sum_bin(roi.bin(bin), in.data + bin * in.bin_stride + lane, in.item_stride, 0, sums);
    sums.store_to(out.data + bin * out.item_stride + lane);
  };
  for (int64_t bin = 0; bin < roi.bins; ++bin) {
    int64_t lane = 0;
    for (; lane + kMany * kWidth<T> <= in.lanes; lane += kMany * kWidth<T>) {
      sum.template operator()<kMany>(bin, lane);
    }
    for (; lane + kWidth<T> <= in.lanes; lane += kWidth<T>) {
      sum.template operator()<1>(bin, lane);
    }
    if (lane < in.lanes) {
      sum.template operator()<1>(bin, in.lanes - kWidth<T>);
    }
  }
}

template <typename S, typename Roi, typename T = Accumulator<S>>
void gather(const Roi& roi, const Block<const S>& in, const Block<S>& out) {
  if (in.lane_stride == 1 && out.lane_stride == 1 && in.lanes >= kWidth<T>) {
    gather_rows(roi, in, out);
    return;
  }
  for (int64_t bin = 0; bin < roi.bins; ++bin) {
    const S* const from = in.data + bin * in.bin_stride;
    S* const to = out.data + bin * out.item_stride;
    for_each_group(0, in.lanes, [&]<int32_t kCount>(int64_t lane) {
      StridedSums<kCount, T> sums{in.lane_stride};
      sum_bin(roi.bin(bin), from + lane * in.lane_stride, in.item_stride, 0, sums);
      for (int32_t i = 0; i < kCount; ++i) {
        to[(lane + i) * out.lane_stride] = static_cast<S>(sums.at[i]);
      }
    });
  }
}

template <typename S, typename Roi, typename T = Accumulator<S>>
void gather_panel(const Roi& roi, const T* panel, int64_t first, const Block<S>& out) {
  alignas(64) T staged[kStaged * kLanes<T>];
  for (int64_t bin = 0; bin < roi.bins; bin += kStaged) {
    const int64_t count = roi.bins - bin < kStaged ? roi.bins - bin : kStaged;
    for (int64_t i = 0; i < count; ++i) {
      Sums<kPanelVectors<T>, T> sums;
      sum_bin(roi.bin(bin + i), panel, kLanes<T>, first, sums);
      sums.store_to(staged + i * kLanes<T>);
    }
    unpack(staged, count, bins_of(out, bin));
  }
}

// map += A^T grad for kCount vectors of neighbouring lanes, whose values stay in registers, for
// pixels [first, end) alone, with the first of which the map starts.
template <int32_t kCount, typename S, typename Bin, typename T>
ROIOPS_INLINE void scatter_vectors(
    const Bin& bin, const S* grad, T* map, int64_t item_stride, int64_t first, int64_t end) {
  Vector<T> value[kCount];
#pragma GCC unroll 16
  for (int32_t i = 0; i < kCount; ++i) {
    value[i] = load<T>(grad + i * kWidth<T>);
  }
  for_each_tap(bin, first, end, [&](int64_t pixel, T weight) {
    T* const to = map + (pixel - first) * item_stride;
#pragma GCC unroll 16
    for (int32_t i = 0; i < kCount; ++i) {
      T* const at = to + i * kWidth<T>;
      store<T>(at, load<T>(at) + weight * value[i]);
    }
  });
}

template <typename S, typename Roi, typename T = Accumulator<S>>
void scatter_panel(
    const Roi& roi, const Block<const S>& grad, T* panel, int64_t first, int64_t end) {
  alignas(64) T staged[kStaged * kLanes<T>];
  for (int64_t bin = 0; bin < roi.bins; bin += kStaged) {
    const int64_t count = roi.bins - bin < kStaged ? roi.bins - bin : kStaged;
    pack(bins_of(grad, bin), count, staged);
    for (int64_t i = 0; i < count; ++i) {
      scatter_vectors<kPanelVectors<T>>(
          roi.bin(bin + i), staged + i * kLanes<T>, panel, kLanes<T>, first, end);
    }
  }
}

// As many lanes as there are whole vectors; returns how many.
template <typename S, typename Bin, typename T>
ROIOPS_INLINE int64_t scatter_rows(const Bin& bin, const S* grad, int64_t lanes, T* map,
    int64_t item_stride, int64_t first, int64_t end) {
  constexpr int32_t kMany = 8;
  int64_t lane = 0;
  for (; lane + kMany * kWidth<T> <= lanes; lane += kMany * kWidth<T>) {
    scatter_vectors<kMany>(bin, grad + lane, map + lane, item_stride, first, end);
  }
  for (; lane + kWidth<T> <= lanes; lane += kWidth<T>) {
    scatter_vectors<1>(bin, grad + lane, map + lane, item_stride, first, end);
  }
  return lane;
}

template <typename S, typename Roi, typename T = Accumulator<S>>
void scatter(
    const Roi& roi, const Block<const S>& grad, const Block<T>& in, int64_t first, int64_t end) {
  const bool rows = in.lane_stride == 1 && grad.lane_stride == 1;
  for (int64_t bin = 0; bin < roi.bins; ++bin) {
    T* const map = in.data + bin * in.bin_stride;
    const S* const from = grad.data + bin * grad.item_stride;
    const int64_t done =
        rows ? scatter_rows(roi.bin(bin), from, grad.lanes, map, in.item_stride, first, end) : 0;
    for_each_group(done, grad.lanes, [&]<int32_t kCount>(int64_t lane) {
      T value[kCount];
#pragma GCC unroll 8
      for (int32_t i = 0; i < kCount; ++i) {
        value[i] = static_cast<T>(from[(lane + i) * grad.lane_stride]);
      }
      for_each_tap(roi.bin(bin), first, end, [&](int64_t pixel, T weight) {
        T* const at = map + (pixel - first) * in.item_stride + lane * in.lane_stride;
#pragma GCC unroll 8
        for (int32_t i = 0; i < kCount; ++i) {
          T& sum = at[i * in.lane_stride];
          sum = multiply_add(weight, value[i], sum);
        }
      });
    });
  }
}

#include "cpu/planes.h"

// The lanes of a bin in kCount panels.
template <int32_t kCount, typename T>
struct BinLanes {
  static constexpr int32_t kPerPanel = kPanelVectors<T>;
  Vector<T> at[kCount * kPerPanel];

  template <typename In>
  BinLanes(const In* bin, int64_t stride) {
#pragma GCC unroll 16
    for (int32_t v = 0; v < kCount * kPerPanel; ++v) {
      at[v] = load<T>(bin + v / kPerPanel * stride + v % kPerPanel * kWidth<T>);
    }
  }
  // The sum over lanes of the products with a pixel, in a fixed order.
  template <typename In>
  ROIOPS_INLINE T dot(const In* pixel, int64_t stride) const {
    Vector<T> sum = {};
#pragma GCC unroll 16
    for (int32_t v = 0; v < kCount * kPerPanel; ++v) {
      sum += at[v] * load<T>(pixel + v / kPerPanel * stride + v % kPerPanel * kWidth<T>);
    }
    return total_of<T>(sum);
  }
};

// Calls body.operator()<count>(panel) for as many panels as are multiplied together: everywhere the
// same ones, so that a product does not depend on where its features lie.
template <typename Body>
void for_each_panels(int64_t count, Body&& body) {
  for_each_group<4>(0, count, body);
}

template <typename T>
void add_products(
    const RoiTaps<T>& roi, const Panels<T>& grad, const Panels<T>& in, int64_t count, T* products) {
  for (int64_t bin = 0; bin < roi.bins; ++bin) {
    for_each_panels(count, [&]<int32_t kCount>(int64_t panel) {
      const BinLanes<kCount, T> lanes(
          grad.data + panel * grad.stride + bin * kLanes<T>, grad.stride);
      const T* const map = in.data + panel * in.stride;
      for (int64_t t = roi.start[bin]; t < roi.stop[bin]; ++t) {
        const int64_t pixel = roi.taps[t].pixel - in.first_pixel;
        products[t] += lanes.dot(map + pixel * kLanes<T>, in.stride);
      }
    });
  }
}

// One item in kCount panels.
template <int32_t kCount, typename S, typename T = Accumulator<S>>
void pack_item(const Block<const S>& in, const S* item, int64_t panel, T* panels) {
  for (int64_t lane = panel * kLanes<T>; lane < (panel + kCount) * kLanes<T>; ++lane) {
    *panels++ = lane < in.lanes ? static_cast<T>(item[lane * in.lane_stride]) : T(0);
  }
}

template <typename S>
void products(const RoiTaps<Accumulator<S>>& roi, const Block<const S>& grad,
    const Block<const S>& in, Accumulator<S>* products) {
  using T = Accumulator<S>;
  const bool neighbours = in.lane_stride == 1 && grad.lane_stride == 1;
  const int64_t panels = (in.lanes + kLanes<T> - 1) / kLanes<T>;
  for (int64_t bin = 0; bin < roi.bins; ++bin) {
    const S* const grad_bin = grad.data + bin * grad.item_stride;
    const S* const map = in.data + bin * in.bin_stride;
    const auto for_each_tap = [&](auto&& tap) {
      for (int64_t t = roi.start[bin]; t < roi.stop[bin]; ++t) {
        tap(products[t], map + roi.taps[t].pixel * in.item_stride);
      }
    };
    for_each_tap([](T& product, const S*) { product = T(0); });
    for_each_panels(panels, [&]<int32_t kCount>(int64_t panel) {
      const int64_t lane = panel * kLanes<T>;
      if (neighbours && lane + kCount * kLanes<T> <= in.lanes) {
        const BinLanes<kCount, T> lanes(grad_bin + lane, kLanes<T>);
        for_each_tap(
            [&](T& product, const S* pixel) { product += lanes.dot(pixel + lane, kLanes<T>); });
        return;
      }
      alignas(64) T staged[kCount * kLanes<T>];
      pack_item<kCount>(grad, grad_bin, panel, staged);
      const BinLanes<kCount, T> lanes(staged, kLanes<T>);
      for_each_tap([&](T& product, const S* pixel) {
        pack_item<kCount>(in, pixel, panel, staged);
        product += lanes.dot(staged, kLanes<T>);
      });
    });
  }
}

}  // namespace

template <typename S>
const Engine<S>& engine() {
  using T = Accumulator<S>;
  static constexpr Engine<S> kEngine = {
      {&gather<S, RoiTaps<T>>, &scatter<S, RoiTaps<T>>, &gather_panel<S, RoiTaps<T>>,
          &scatter_panel<S, RoiTaps<T>>},
      {&gather<S, RoiAxes<T>>, &scatter<S, RoiAxes<T>>, &gather_panel<S, RoiAxes<T>>,
          &scatter_panel<S, RoiAxes<T>>},
      &gather_planes<S>, &scatter_planes<S>, &products<S>, &add_products<T>, &pack<S>, &unpack<S>,
      &narrow<S>};
  return kEngine;
}

template const Engine<double>& engine<double>();
template const Engine<float>& engine<float>();
template const Engine<c10::Half>& engine<c10::Half>();
template const Engine<c10::BFloat16>& engine<c10::BFloat16>();

}  // namespace roiops::cpu::ROIOPS_ISA
