// See max_engine.h and NOTE [Engine].
#include "cpu/max_engine.h"

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
// after both
#include "cpu/bin_samples.h"

// Vectors of a panel's pixel.
template <typename T>
constexpr int32_t kPanelVectors = kLanes<T> / kWidth<T>;

// Neighbouring channels on both sides: as many vectors at a time as registers hold. The last ones
// overlap.
template <typename S, typename T = Accumulator<S>>
void select_rows(const RoiSamples<T>& roi, const Block<const S>& in, const Block<S>& out,
    const Block<int32_t>& names) {
  constexpr int32_t kMany = 4;
  for_each_bin(roi, [&](int64_t number, const BinSamples<T>& bin) {
    const auto run = [&]<int32_t kCount>(int64_t lane) {
      const auto best = best_of<kCount>(bin, in.data + lane, in.item_stride, in.first_item);
#pragma GCC unroll 16
      for (int32_t v = 0; v < kCount; ++v) {
        const int64_t at = lane + v * kWidth<T>;
        store<T>(out.data + number * out.item_stride + at, best.value[v]);
        store_names<T>(names.data + number * names.item_stride + at, best.name[v]);
      }
    };
    int64_t lane = 0;
    for (; lane + kMany * kWidth<T> <= in.lanes; lane += kMany * kWidth<T>) {
      run.template operator()<kMany>(lane);
    }
    for (; lane + kWidth<T> <= in.lanes; lane += kWidth<T>) {
      run.template operator()<1>(lane);
    }
    if (lane < in.lanes) {
      run.template operator()<1>(in.lanes - kWidth<T>);
    }
  });
}

template <typename S>
void select(const RoiSamples<Accumulator<S>>& roi, const Block<const S>& in, const Block<S>& out,
    const Block<int32_t>& names) {
  using T = Accumulator<S>;
  const bool rows = in.lane_stride == 1 && out.lane_stride == 1 && names.lane_stride == 1;
  if (rows && in.lanes >= kWidth<T>) {
    select_rows(roi, in, out, names);
    return;
  }
  for_each_bin(roi, [&](int64_t number, const BinSamples<T>& bin) {
    // Channels outermost, so that a plane's rows are read while they are in the cache.
    for (int64_t lane = 0; lane < in.lanes; ++lane) {
      T best = bin.count() > 0 ? kLowest<T> : T(0);
      int32_t best_name = bin.count() > 0 ? bin.first_name() : -1;
      for_each_sample(bin, [&](int32_t name, int32_t pixel, const auto& y, const auto& x) {
        const S* const first = in.data + lane * in.lane_stride + pixel * in.item_stride;
        T sum = kNothing<T>;
        for_each_tap(y, x, bin.width, [&](int64_t offset, T weight) {
          sum = multiply_add(weight, static_cast<T>(first[offset * in.item_stride]), sum);
        });
        const bool wins = !(sum <= best) && best == best;  // as Best::challenge
        best = wins ? sum : best;
        best_name = wins ? name : best_name;
      });
      out.data[number * out.item_stride + lane * out.lane_stride] = static_cast<S>(best);
      names.data[number * names.item_stride + lane * names.lane_stride] = best_name;
    }
  });
}

// Names on their way to or from the tensor: as a panel of 32-bit numbers, whatever the values are.
constexpr int64_t kNameLanes = kLanes<int32_t>;

template <typename S>
void select_panel(const RoiSamples<Accumulator<S>>& roi, const Accumulator<S>* panel, int64_t first,
    const Block<S>& out, const Block<int32_t>& names) {
  using T = Accumulator<S>;
  alignas(64) T values[kStaged * kLanes<T>];
  alignas(64) int32_t staged_names[kStaged * kNameLanes] = {};
  const int64_t bins = roi.bins();
  for_each_bin(roi, [&](int64_t number, const BinSamples<T>& bin) {
    const int64_t i = number % kStaged;
    const auto best = best_of<kPanelVectors<T>>(bin, panel, kLanes<T>, first);
#pragma GCC unroll 16
    for (int32_t v = 0; v < kPanelVectors<T>; ++v) {
      store<T>(values + i * kLanes<T> + v * kWidth<T>, best.value[v]);
      store_names<T>(staged_names + i * kNameLanes + v * kWidth<T>, best.name[v]);
    }
    if (i + 1 == kStaged || number + 1 == bins) {
      unpack(values, i + 1, bins_of(out, number - i));
      const Block<int32_t> to = bins_of(names, number - i);
      to.lane_stride == 1 ? to_rows(staged_names, i + 1, to) : to_planes(staged_names, i + 1, to);
    }
  });
}

// Calls body(b, lane, samples, s) for the winner of every bin and lane, s being its number, or -1.
template <typename T, typename Body>
void for_each_winner(const RoiSamples<T>& roi, const Block<const int32_t>& names, Body&& body) {
  for_each_bin(roi, [&](int64_t b, const BinSamples<T>& bin) {
    for (int64_t lane = 0; lane < names.lanes; ++lane) {
      body(b, lane, bin,
          bin.number_of(names.data[b * names.item_stride + lane * names.lane_stride]));
    }
  });
}

// Calls tap(offset of the pixel, number of the tap) for sample s of a bin.
template <typename T, typename TapFn>
void for_each_tap_of(const BinSamples<T>& bin, int64_t s, TapFn&& tap) {
  const int64_t i = s / bin.columns, j = s % bin.columns;
  int64_t number = kSampleTaps * (bin.first + s);
  for_each_tap(bin.y[i], bin.x[j], bin.width,
      [&](int64_t offset, T) { tap(bin.pixel(i, j) + offset, number++); });
}

template <typename S>
void gather(const RoiSamples<Accumulator<S>>& roi, const Accumulator<S>* weights,
    const Block<const S>& in, const Block<const int32_t>& names, const Block<S>& out) {
  using T = Accumulator<S>;
  for_each_winner(roi, names, [&](int64_t b, int64_t lane, const BinSamples<T>& bin, int64_t s) {
    const S* const at = in.data + lane * in.lane_stride;
    T sum = s < 0 ? T(0) : kNothing<T>;
    if (s >= 0) {
      for_each_tap_of(bin, s, [&](int64_t pixel, int64_t t) {
        sum = multiply_add(weights[t], static_cast<T>(at[pixel * in.item_stride]), sum);
      });
    }
    out.data[b * out.item_stride + lane * out.lane_stride] = static_cast<S>(sum);
  });
}

template <typename S>
void products(const RoiSamples<Accumulator<S>>& roi, const Block<const S>& grad,
    const Block<const int32_t>& names, const Block<const S>& in, Accumulator<S>* products) {
  using T = Accumulator<S>;
  for (int64_t t = 0; t < kSampleTaps * roi.y.count() * roi.x.count(); ++t) {
    products[t] = T(0);
  }
  for_each_winner(roi, names, [&](int64_t b, int64_t lane, const BinSamples<T>& bin, int64_t s) {
    const T value = static_cast<T>(grad.data[b * grad.item_stride + lane * grad.lane_stride]);
    const S* const at = in.data + lane * in.lane_stride;
    if (s >= 0) {
      for_each_tap_of(bin, s, [&](int64_t pixel, int64_t t) {
        products[t] += value * static_cast<T>(at[pixel * in.item_stride]);
      });
    }
  });
}

// In the order of the gradient's memory.
template <typename S>
void scatter_pixels(int64_t bins, const Block<const S>& grad, const Block<const int32_t>& names,
    int64_t pixels, const Block<Accumulator<S>>& in) {
  using T = Accumulator<S>;
  const auto add = [&](int32_t name, S value, T* lane) {
    const int64_t pixel = name - in.first_item;
    if (pixel >= 0 && pixel < pixels) {
      lane[pixel * in.item_stride] += static_cast<T>(value);
    }
  };
  if (in.lane_stride == 1 && grad.lane_stride == 1 && names.lane_stride == 1) {
    for (int64_t b = 0; b < bins; ++b) {
      const S* const values = grad.data + b * grad.item_stride;
      const int32_t* const name = names.data + b * names.item_stride;
      for (int64_t lane = 0; lane < grad.lanes; ++lane) {
        add(name[lane], values[lane], in.data + lane);
      }
    }
    return;
  }
  for (int64_t lane = 0; lane < grad.lanes; ++lane) {
    for (int64_t b = 0; b < bins; ++b) {
      add(names.data[b * names.item_stride + lane * names.lane_stride],
          grad.data[b * grad.item_stride + lane * grad.lane_stride],
          in.data + lane * in.lane_stride);
    }
  }
}

// Every sample of a bin, for the lanes where it has won: few samples beside the lanes.
template <typename T>
void scatter_samples(
    const BinSamples<T>& bin, const T* grad, const int32_t* names, T* panel, int64_t first) {
  Vector<T> value[kPanelVectors<T>];
  Numbers<T> winner[kPanelVectors<T>];
#pragma GCC unroll 16
  for (int32_t v = 0; v < kPanelVectors<T>; ++v) {
    value[v] = load<T>(grad + v * kWidth<T>);
    winner[v] = load_names<T>(names + v * kWidth<T>);
  }
  for_each_sample(bin, [&](int32_t name, int32_t pixel, const auto& y, const auto& x) {
    Vector<T> won[kPanelVectors<T>];
#pragma GCC unroll 16
    for (int32_t v = 0; v < kPanelVectors<T>; ++v) {
      won[v] = winner[v] == Number<T>{name} ? value[v] : Vector<T>{};
    }
    for_each_tap(y, x, bin.width, [&](int64_t offset, T weight) {
      T* const to = panel + (pixel - first + offset) * kLanes<T>;
#pragma GCC unroll 16
      for (int32_t v = 0; v < kPanelVectors<T>; ++v) {
        T* const at = to + v * kWidth<T>;
        store<T>(at, load<T>(at) + weight * won[v]);
      }
    });
  });
}

// Every lane's winner: few lanes beside the samples.
template <typename T>
void scatter_lanes(
    const BinSamples<T>& bin, const T* grad, const int32_t* names, T* panel, int64_t first) {
  for (int64_t lane = 0; lane < kLanes<T>; ++lane) {
    const int64_t s = bin.number_of(names[lane]);
    if (s < 0) {
      continue;
    }
    const int64_t i = s / bin.columns, j = s % bin.columns;
    T* const to = panel + (bin.pixel(i, j) - first) * kLanes<T> + lane;
    for_each_tap(bin.y[i], bin.x[j], bin.width, [&](int64_t offset, T weight) {
      T& at = to[offset * kLanes<T>];
      at = multiply_add(weight, grad[lane], at);
    });
  }
}

template <typename S>
void scatter_panel(const RoiSamples<Accumulator<S>>& roi, const Block<const S>& grad,
    const Block<const int32_t>& names, Accumulator<S>* panel, int64_t first) {
  using T = Accumulator<S>;
  alignas(64) T values[kStaged * kLanes<T>];
  alignas(64) int32_t staged_names[kStaged * kNameLanes];
  const int64_t bins = roi.bins();
  for_each_bin(roi, [&](int64_t number, const BinSamples<T>& bin) {
    const int64_t i = number % kStaged;
    if (i == 0) {
      const int64_t count = bins - number < kStaged ? bins - number : kStaged;
      pack(bins_of(grad, number), count, values);
      const Block<const int32_t> from = bins_of(names, number);
      from.lane_stride == 1 ? from_rows(from, count, staged_names)
                            : from_planes(from, count, staged_names);
    }
    const auto scatter = bin.count() <= kLanes<T> ? scatter_samples<T> : scatter_lanes<T>;
    scatter(bin, values + i * kLanes<T>, staged_names + i * kNameLanes, panel, first);
  });
}

}  // namespace

template <typename S>
const MaxEngine<S>& max_engine() {
  static constexpr MaxEngine<S> kEngine = {&select<S>, &select_panel<S>, &gather<S>,
      &scatter_pixels<S>, &scatter_panel<S>, &products<S>};
  return kEngine;
}

template const MaxEngine<double>& max_engine<double>();
template const MaxEngine<float>& max_engine<float>();
template const MaxEngine<c10::Half>& max_engine<c10::Half>();
template const MaxEngine<c10::BFloat16>& max_engine<c10::BFloat16>();

}  // namespace roiops::cpu::ROIOPS_ISA
