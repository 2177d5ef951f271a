// See max_engine.h and NOTE [Engine].
#include "cpu/max_engine.h"
#include "cpu/isa.h"

namespace roiops::cpu::ROIOPS_ISA {
namespace {

#include "cpu/vec.h"
// after the vectors
#include "cpu/panel.h"
// after both
#include "cpu/bin_samples.h"
// after all three
#include "cpu/best_sample.h"

// Neighbouring channels on both sides: as many vectors at a time as registers hold. The last ones
// overlap.
template <bool kPixels, typename S, typename T = Accumulator<S>>
void select_rows(const RoiSamples<T>& roi, const Block<const S>& in, const Block<S>& out,
    const Block<int32_t>& names) {
  constexpr int32_t kMany = 4;
  for_each_bin(roi, [&](int64_t b, const BinSamples<T>& bin) {
    const auto run = [&]<int32_t kCount>(int64_t lane) {
      S* const to = out.data + b * out.item_stride + lane;
      int32_t* const to_name = names.data + b * names.item_stride + lane;
      select_bin<kCount, kPixels>(bin, Lanes<S>{in.data + lane, in.item_stride, kLanes<T>, 0},
          [&](int32_t v, const Vector<T>& value, const Numbers<T>& name) {
            store<T>(to + v * kWidth<T>, value);
            store_names<T>(to_name + v * kWidth<T>, name);
          });
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
    roi.pixels ? select_rows<true>(roi, in, out, names) : select_rows<false>(roi, in, out, names);
    return;
  }
  for_each_bin(roi, [&](int64_t number, const BinSamples<T>& bin) {
    // Channels outermost, so that a plane's rows are read while they are in the cache.
    for (int64_t lane = 0; lane < in.lanes; ++lane) {
      const S* const plane = in.data + lane * in.lane_stride;
      BestOfLane<T> best = BestOfLane<T>::before(bin);
      if (roi.pixels && in.item_stride == 1 && bin.columns >= kWidth<T>) {
        find_best_in_rows(bin, plane, best);
      } else if (roi.pixels) {
        find_best_pixel(bin, plane, in.item_stride, best);
      } else {
        find_best_sample(bin, plane, in.item_stride, best);
      }
      out.data[number * out.item_stride + lane * out.lane_stride] = static_cast<S>(best.value);
      names.data[number * names.item_stride + lane * names.lane_stride] = best.name;
    }
  });
}

// Names on their way to or from the tensor: as a panel of 32-bit numbers, whatever the values are.
constexpr int64_t kNameLanes = kLanes<int32_t>;

template <typename T>
Block<T> lanes_of(const Block<T>& block, int64_t first, int64_t lanes) {
  return {block.data + first * block.lane_stride, block.item_stride, block.lane_stride, lanes};
}

// kPanels at a time, so that a maximum need not wait for the one before it.
template <int32_t kPanels, bool kPixels, typename S, typename T = Accumulator<S>>
void select_panels(const RoiSamples<T>& roi, const Panels<T>& in, const Block<S>& out,
    const Block<int32_t>& names) {
  constexpr int32_t kVectors = kPanelVectors<T>;
  alignas(64) T values[kPanels][kStaged * kLanes<T>];
  alignas(64) int32_t staged_names[kPanels][kStaged * kNameLanes];
  const int64_t bins = roi.bins();
  for_each_bin(roi, [&](int64_t b, const BinSamples<T>& bin) {
    const int64_t i = b % kStaged;
    select_bin<kPanels * kVectors, kPixels>(bin,
        Lanes<T>{in.data, kLanes<T>, in.stride, in.first_pixel},
        [&](int32_t v, const Vector<T>& value, const Numbers<T>& name) {
          const int64_t lane = v % kVectors * kWidth<T>;
          store<T>(values[v / kVectors] + i * kLanes<T> + lane, value);
          store_names<T>(staged_names[v / kVectors] + i * kNameLanes + lane, name);
        });
    for (int32_t p = 0; p < kPanels && (i + 1 == kStaged || b + 1 == bins); ++p) {
      const int64_t lane = p * kLanes<T>;
      const int64_t lanes = out.lanes - lane < kLanes<T> ? out.lanes - lane : kLanes<T>;
      unpack(values[p], i + 1, bins_of(lanes_of(out, lane, lanes), b - i));
      const Block<int32_t> to = bins_of(lanes_of(names, lane, lanes), b - i);
      to.lane_stride == 1 ? to_rows(staged_names[p], i + 1, to)
                          : to_planes(staged_names[p], i + 1, to);
    }
  });
}

template <typename S>
void select_panels(const RoiSamples<Accumulator<S>>& roi, const Panels<Accumulator<S>>& in,
    const Block<S>& out, const Block<int32_t>& names) {
  using T = Accumulator<S>;
  int64_t lane = 0;
  const auto run = [&]<int32_t kPanels>() {
    const int64_t lanes = out.lanes - lane;
    const Panels<T> from{in.data + lane / kLanes<T> * in.stride, in.stride, in.first_pixel};
    const auto select =
        roi.pixels ? &select_panels<kPanels, true, S> : &select_panels<kPanels, false, S>;
    select(roi, from, lanes_of(out, lane, lanes), lanes_of(names, lane, lanes));
    lane += kPanels * kLanes<T>;
  };
  while (out.lanes - lane > (kSelectPanels - 1) * kLanes<T>) {
    run.template operator()<kSelectPanels>();
  }
  if (lane < out.lanes) {
    run.template operator()<1>();
  }
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
    int64_t first, int64_t pixels, const Block<Accumulator<S>>& in) {
  using T = Accumulator<S>;
  const auto add = [&](int32_t name, S value, T* lane) {
    const int64_t pixel = name - first;
    if (pixel >= 0 && pixel < pixels) {
      lane[pixel * in.item_stride] += static_cast<T>(value);
    }
  };
  if (in.lane_stride == 1 && grad.lane_stride == 1 && names.lane_stride == 1) {
    constexpr int64_t kAhead = 16;  // bins: rows are too far apart for the hardware to foresee
    for (int64_t b = 0; b < bins; ++b) {
      const S* const values = grad.data + b * grad.item_stride;
      const int32_t* const name = names.data + b * names.item_stride;
      for (int64_t lane = 0; lane < grad.lanes; lane += kLanes<T>) {
        __builtin_prefetch(values + kAhead * grad.item_stride + lane);
        __builtin_prefetch(name + kAhead * names.item_stride + lane);
      }
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
  static constexpr MaxEngine<S> kEngine = {&select<S>, &select_panels<S>, &gather<S>,
      &scatter_pixels<S>, &scatter_panel<S>, &products<S>};
  return kEngine;
}

template const MaxEngine<double>& max_engine<double>();
template const MaxEngine<float>& max_engine<float>();
template const MaxEngine<c10::Half>& max_engine<c10::Half>();
template const MaxEngine<c10::BFloat16>& max_engine<c10::BFloat16>();

}  // namespace roiops::cpu::ROIOPS_ISA
