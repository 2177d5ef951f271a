// See NOTE [Engine].
#include "cpu/engine.h"

#include <utility>

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#ifndef ROIOPS_ISA
#error "compile this file with ROIOPS_ISA=<name of the instruction set>"
#endif

namespace roiops::cpu::ROIOPS_ISA {
namespace {

#include "cpu/vec.h"
// after the vectors
#include "cpu/panel.h"

// Vectors of a panel's pixel.
template <typename T>
constexpr int32_t kPanelVectors = kLanes<T> / kWidth<T>;

template <typename T>
int64_t min_lanes(int64_t lanes) {
  return lanes < kLanes<T> ? lanes : kLanes<T>;
}

// The sums of kCount vectors of neighbouring lanes stay in registers.
template <int32_t kCount, typename T, typename In, typename StoreFn>
void sum_vectors(const Tap<T>* begin, const Tap<T>* end, const In* data, int64_t item_stride,
    int64_t first_item, StoreFn&& store_sum) {
  Vector<T> sum[kCount] = {};
  for (const Tap<T>* tap = begin; tap != end; ++tap) {
    const In* const at = data + (tap->pixel - first_item) * item_stride;
#pragma GCC unroll 16
    for (int32_t i = 0; i < kCount; ++i) {
      sum[i] += tap->weight * load<T>(at + i * kWidth<T>);
    }
  }
#pragma GCC unroll 16
  for (int32_t i = 0; i < kCount; ++i) {
    store_sum(i * kWidth<T>, sum[i]);
  }
}

// Neighbouring lanes on both sides: as many vectors at a time as registers hold. The last ones
// overlap.
template <typename S, typename T = Accumulator<S>>
void gather_rows(const RoiTaps<T>& roi, const Block<const S>& in, const Block<S>& out) {
  constexpr int32_t kMany = 8;
  const auto sum = [&]<int32_t kCount>(int64_t bin, int64_t lane) {
    S* const to = out.data + bin * out.item_stride + lane;
    sum_vectors<kCount, T>(roi.taps + roi.start[bin], roi.taps + roi.start[bin + 1],
        in.data + bin * in.bin_stride + lane, in.item_stride, in.first_item,
        [&](int64_t i, const Vector<T>& value) { store<T>(to + i, value); });
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

// Any strides, some lanes at a time.
template <typename S, typename T = Accumulator<S>>
void gather_strided(const RoiTaps<T>& roi, Block<const S> in, const Block<S>& out) {
  for (int64_t bin = 0; bin < roi.bins; ++bin, in.data += in.bin_stride) {
    T sum[kLanes<T>] = {};
    for (int64_t t = roi.start[bin]; t < roi.start[bin + 1]; ++t) {
      const S* const at = in.data + (roi.taps[t].pixel - in.first_item) * in.item_stride;
      for (int64_t lane = 0; lane < in.lanes; ++lane) {
        sum[lane] += roi.taps[t].weight * static_cast<T>(at[lane * in.lane_stride]);
      }
    }
    S* const at = out.data + bin * out.item_stride;
    for (int64_t lane = 0; lane < out.lanes; ++lane) {
      at[lane * out.lane_stride] = static_cast<S>(sum[lane]);
    }
  }
}

template <typename S>
void gather(const RoiTaps<Accumulator<S>>& roi, const Block<const S>& in, const Block<S>& out) {
  using T = Accumulator<S>;
  if (in.lane_stride == 1 && out.lane_stride == 1 && in.lanes >= kWidth<T>) {
    gather_rows(roi, in, out);
    return;
  }
  for (int64_t lane = 0; lane < in.lanes; lane += kLanes<T>) {
    const int64_t lanes = min_lanes<T>(in.lanes - lane);
    gather_strided(roi,
        {in.data + lane * in.lane_stride, in.item_stride, in.lane_stride, lanes, in.bin_stride},
        Block<S>{out.data + lane * out.lane_stride, out.item_stride, out.lane_stride, lanes});
  }
}

template <typename S>
void gather_panel(const RoiTaps<Accumulator<S>>& roi, const Accumulator<S>* panel, int64_t first,
    const Block<S>& out) {
  using T = Accumulator<S>;
  alignas(64) T staged[kStaged * kLanes<T>];
  for (int64_t bin = 0; bin < roi.bins; bin += kStaged) {
    const int64_t count = roi.bins - bin < kStaged ? roi.bins - bin : kStaged;
    for (int64_t i = 0; i < count; ++i) {
      sum_vectors<kPanelVectors<T>, T>(roi.taps + roi.start[bin + i],
          roi.taps + roi.start[bin + i + 1], panel, kLanes<T>, first,
          [&](int64_t lane, const Vector<T>& value) {
            store<T>(staged + i * kLanes<T> + lane, value);
          });
    }
    unpack(staged, count, bins_of(out, bin));
  }
}

template <typename S>
void scatter_panel(const RoiTaps<Accumulator<S>>& roi, const Block<const S>& grad,
    Accumulator<S>* panel, int64_t first) {
  using T = Accumulator<S>;
  alignas(64) T staged[kStaged * kLanes<T>];
  for (int64_t bin = 0; bin < roi.bins; bin += kStaged) {
    const int64_t count = roi.bins - bin < kStaged ? roi.bins - bin : kStaged;
    pack(bins_of(grad, bin), count, staged);
    for (int64_t i = 0; i < count; ++i) {
      Vector<T> value[kPanelVectors<T>];
#pragma GCC unroll 16
      for (int32_t v = 0; v < kPanelVectors<T>; ++v) {
        value[v] = load<T>(staged + i * kLanes<T> + v * kWidth<T>);
      }
      for (int64_t t = roi.start[bin + i]; t < roi.start[bin + i + 1]; ++t) {
        T* const pixel = panel + (roi.taps[t].pixel - first) * kLanes<T>;
#pragma GCC unroll 16
        for (int32_t v = 0; v < kPanelVectors<T>; ++v) {
          T* const at = pixel + v * kWidth<T>;
          store<T>(at, load<T>(at) + roi.taps[t].weight * value[v]);
        }
      }
    }
  }
}

// Channels outermost: few channels are far apart.
template <typename S>
void scatter(const RoiTaps<Accumulator<S>>& roi, const Block<const S>& grad,
    const Block<Accumulator<S>>& in) {
  using T = Accumulator<S>;
  for (int64_t lane = 0; lane < grad.lanes; ++lane) {
    T* plane = in.data + lane * in.lane_stride;
    const S* at = grad.data + lane * grad.lane_stride;
    for (int64_t bin = 0; bin < roi.bins; ++bin, at += grad.item_stride, plane += in.bin_stride) {
      const T value = static_cast<T>(*at);
      for (int64_t t = roi.start[bin]; t < roi.start[bin + 1]; ++t) {
        plane[roi.taps[t].pixel * in.item_stride] += roi.taps[t].weight * value;
      }
    }
  }
}

// The sum over neighbouring lanes, in a fixed order.
template <typename S, typename T = Accumulator<S>>
T dot(const S* a, const S* b, int64_t count) {
  constexpr int32_t kSums = 4;
  Vector<T> sum[kSums] = {};
  int64_t i = 0;
  for (; i + kSums * kWidth<T> <= count; i += kSums * kWidth<T>) {
#pragma GCC unroll 4
    for (int32_t j = 0; j < kSums; ++j) {
      sum[j] += load<T>(a + i + j * kWidth<T>) * load<T>(b + i + j * kWidth<T>);
    }
  }
  T total = T(0);
  for (; i < count; ++i) {
    total += static_cast<T>(a[i]) * static_cast<T>(b[i]);
  }
  const Vector<T> all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  for (int32_t j = 0; j < kWidth<T>; ++j) {
    total += all[j];
  }
  return total;
}

template <typename S>
void products(const RoiTaps<Accumulator<S>>& roi, const Block<const S>& grad,
    const Block<const S>& in, Accumulator<S>* products) {
  using T = Accumulator<S>;
  const bool contiguous = in.lane_stride == 1 && grad.lane_stride == 1;
  for (int64_t bin = 0; bin < roi.bins; ++bin) {
    const S* const grad_bin = grad.data + bin * grad.item_stride;
    const S* const map = in.data + bin * in.bin_stride;
    for (int64_t t = roi.start[bin]; t < roi.start[bin + 1]; ++t) {
      products[t] =
          contiguous ? dot(grad_bin, map + roi.taps[t].pixel * in.item_stride, in.lanes) : T(0);
    }
    // Channels outermost otherwise, so that a plane's rows are read while they are in the cache.
    for (int64_t lane = 0; lane < in.lanes && !contiguous; ++lane) {
      const T value = static_cast<T>(grad_bin[lane * grad.lane_stride]);
      const S* const plane = map + lane * in.lane_stride;
      for (int64_t t = roi.start[bin]; t < roi.start[bin + 1]; ++t) {
        products[t] += value * static_cast<T>(plane[roi.taps[t].pixel * in.item_stride]);
      }
    }
  }
}

}  // namespace

template <typename S>
const Engine<S>& engine() {
  static constexpr Engine<S> kEngine = {&gather<S>, &scatter<S>, &gather_panel<S>,
      &scatter_panel<S>, &products<S>, &pack<S>, &unpack<S>};
  return kEngine;
}

template const Engine<double>& engine<double>();
template const Engine<float>& engine<float>();
template const Engine<c10::Half>& engine<c10::Half>();
template const Engine<c10::BFloat16>& engine<c10::BFloat16>();

}  // namespace roiops::cpu::ROIOPS_ISA
