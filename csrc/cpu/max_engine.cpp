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

template <typename T>
struct Winner {
  T value = T(0);
  int64_t sample = -1;
};

template <typename S, typename T>
T sample_value(const RoiSamples<T>& roi, int64_t sample, const S* lane, int64_t item_stride) {
  const auto term = [&](int64_t t) {
    return roi.taps[t].weight * static_cast<T>(lane[roi.taps[t].pixel * item_stride]);
  };
  T sum = term(roi.tap[sample]);  // not 0 + ...: a sum of one term keeps the sign of a zero
  for (int64_t t = roi.tap[sample] + 1; t < roi.tap[sample + 1]; ++t) {
    sum += term(t);
  }
  return sum;
}

// Larger, or the first NaN: a NaN winner is never beaten.
template <typename T>
bool beats(T value, T best) {
  return value > best || (value != value && best == best);
}

template <typename T>
int32_t tag_of(const RoiSamples<T>& roi, int64_t bin, const Winner<T>& winner) {
  if (winner.sample < 0) {
    return -1;
  }
  return roi.tag ? roi.tag[winner.sample] : static_cast<int32_t>(winner.sample - roi.start[bin]);
}

// The sample that a winner names, or -1. Tags rise in every bin.
template <typename T>
int64_t sample_of(const RoiSamples<T>& roi, int64_t bin, int32_t tag) {
  int64_t low = roi.start[bin], high = roi.start[bin + 1];
  if (!roi.tag) {
    return tag >= 0 && tag < high - low ? low + tag : -1;
  }
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    (roi.tag[middle] < tag ? low : high) = roi.tag[middle] < tag ? middle + 1 : middle;
  }
  return low < roi.start[bin + 1] && roi.tag[low] == tag ? low : -1;
}

template <typename S, typename T>
void set_winner(const RoiSamples<T>& roi, int64_t bin, int64_t lane, const Winner<T>& winner,
    const Block<S>& out, const Block<int32_t>& tags) {
  out.data[bin * out.item_stride + lane * out.lane_stride] = static_cast<S>(winner.value);
  tags.data[bin * tags.item_stride + lane * tags.lane_stride] = tag_of(roi, bin, winner);
}

// Numbers as wide as the values, so that one mask chooses among both.
template <typename T>
using Number = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;

template <typename T>
using Numbers = Vector<Number<T>>;

// The largest of one bin's samples, for kWidth neighbouring channels.
template <typename T>
struct Best {
  Vector<T> value{};
  Numbers<T> tag = Numbers<T>{} - 1;

  // NaN beats everything but NaN, as in beats().
  void challenge(const Vector<T>& other, Number<T> number) {
    const auto wins = (other > value) | ((other != other) & (value == value)) | (tag < 0);
    value = wins ? other : value;
    tag = wins ? Numbers<T>{} + number : tag;
  }
};

template <typename T, typename In>
Best<T> best_of(
    const RoiSamples<T>& roi, int64_t bin, const In* in, int64_t item_stride, int64_t first_item) {
  Best<T> best;
  for (int64_t s = roi.start[bin]; s < roi.start[bin + 1]; ++s) {
    const Tap<T>* tap = roi.taps + roi.tap[s];
    const Tap<T>* const end = roi.taps + roi.tap[s + 1];
    const auto term = [&] {
      return tap->weight * load<T>(in + (tap->pixel - first_item) * item_stride);
    };
    Vector<T> sum = term();  // not 0 + ...: a sum of one term keeps the sign of a zero
    for (++tap; tap != end; ++tap) {
      sum += term();
    }
    best.challenge(sum, static_cast<Number<T>>(roi.tag ? roi.tag[s] : s - roi.start[bin]));
  }
  return best;
}

// Tags are 32 bits wide, whatever the values are.
template <typename T>
void store_tags(int32_t* at, const Numbers<T>& tags) {
  if constexpr (sizeof(Number<T>) == sizeof(int32_t)) {
    __builtin_memcpy(at, &tags, sizeof(tags));
  } else {
    for (int32_t i = 0; i < kWidth<T>; ++i) {
      at[i] = static_cast<int32_t>(tags[i]);
    }
  }
}

// Neighbouring channels on both sides. The last vector overlaps.
template <typename S, typename T = Accumulator<S>>
void select_rows(const RoiSamples<T>& roi, const Block<const S>& in, const Block<S>& out,
    const Block<int32_t>& tags) {
  for (int64_t bin = 0; bin < roi.bins; ++bin) {
    for (int64_t next = 0; next < in.lanes; next += kWidth<T>) {
      const int64_t lane = next + kWidth<T> <= in.lanes ? next : in.lanes - kWidth<T>;
      const Best<T> best = best_of<T>(roi, bin, in.data + lane, in.item_stride, in.first_item);
      store<T>(out.data + bin * out.item_stride + lane, best.value);
      store_tags<T>(tags.data + bin * tags.item_stride + lane, best.tag);
    }
  }
}

template <typename S>
void select(const RoiSamples<Accumulator<S>>& roi, const Block<const S>& in, const Block<S>& out,
    const Block<int32_t>& tags) {
  using T = Accumulator<S>;
  const bool rows = in.lane_stride == 1 && out.lane_stride == 1 && tags.lane_stride == 1;
  if (rows && in.lanes >= kWidth<T>) {
    select_rows(roi, in, out, tags);
    return;
  }
  for (int64_t bin = 0; bin < roi.bins; ++bin) {
    // Channels outermost, so that a plane's rows are read while they are in the cache.
    for (int64_t lane = 0; lane < in.lanes; ++lane) {
      Winner<T> best;
      for (int64_t s = roi.start[bin]; s < roi.start[bin + 1]; ++s) {
        const T value = sample_value(roi, s, in.data + lane * in.lane_stride, in.item_stride);
        if (s == roi.start[bin] || beats(value, best.value)) {
          best = {value, s};
        }
      }
      set_winner(roi, bin, lane, best, out, tags);
    }
  }
}

template <typename S>
void select_panel(const RoiSamples<Accumulator<S>>& roi, const Accumulator<S>* panel, int64_t first,
    const Block<S>& out, const Block<int32_t>& tags) {
  using T = Accumulator<S>;
  constexpr int64_t kPanel = kLanes<T>;
  alignas(64) T values[kStaged * kPanel];
  alignas(64) int32_t names[kStaged * kPanel];
  for (int64_t bin = 0; bin < roi.bins; bin += kStaged) {
    const int64_t count = roi.bins - bin < kStaged ? roi.bins - bin : kStaged;
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t lane = 0; lane < kPanel; lane += kWidth<T>) {
        const Best<T> best = best_of<T>(roi, bin + i, panel + lane, kPanel, first);
        store<T>(values + i * kPanel + lane, best.value);
        store_tags<T>(names + i * kPanel + lane, best.tag);
      }
    }
    unpack(values, count, bins_of(out, bin));
    const Block<int32_t> to = bins_of(tags, bin);
    for (int64_t lane = 0; lane < to.lanes; ++lane) {
      for (int64_t i = 0; i < count; ++i) {
        to.data[lane * to.lane_stride + i * to.item_stride] = names[i * kPanel + lane];
      }
    }
  }
}

// Calls body(bin, lane, sample) for every lane of every bin; sample is -1 where none has won.
template <typename T, typename Body>
void for_each_winner(const RoiSamples<T>& roi, const Block<const int32_t>& tags, Body&& body) {
  for (int64_t bin = 0; bin < roi.bins; ++bin) {
    for (int64_t lane = 0; lane < tags.lanes; ++lane) {
      const int64_t sample =
          sample_of(roi, bin, tags.data[bin * tags.item_stride + lane * tags.lane_stride]);
      body(bin, lane, sample);
    }
  }
}

template <typename S>
void gather(const RoiSamples<Accumulator<S>>& roi, const Block<const S>& in,
    const Block<const int32_t>& tags, const Block<S>& out) {
  using T = Accumulator<S>;
  for_each_winner(roi, tags, [&](int64_t bin, int64_t lane, int64_t sample) {
    const S* const at = in.data + lane * in.lane_stride;
    out.data[bin * out.item_stride + lane * out.lane_stride] =
        static_cast<S>(sample < 0 ? T(0) : sample_value(roi, sample, at, in.item_stride));
  });
}

// In the order of the gradient's memory.
template <typename S>
void scatter_pixels(int64_t bins, const Block<const S>& grad, const Block<const int32_t>& tags,
    int64_t pixels, const Block<Accumulator<S>>& in) {
  using T = Accumulator<S>;
  const auto add = [&](int64_t bin, int64_t lane) {
    const int32_t tag = tags.data[bin * tags.item_stride + lane * tags.lane_stride];
    if (tag >= 0 && tag < pixels) {
      in.data[tag * in.item_stride + lane * in.lane_stride] +=
          static_cast<T>(grad.data[bin * grad.item_stride + lane * grad.lane_stride]);
    }
  };
  if (in.lane_stride == 1) {
    for (int64_t bin = 0; bin < bins; ++bin) {
      for (int64_t lane = 0; lane < grad.lanes; ++lane) {
        add(bin, lane);
      }
    }
    return;
  }
  for (int64_t lane = 0; lane < grad.lanes; ++lane) {
    for (int64_t bin = 0; bin < bins; ++bin) {
      add(bin, lane);
    }
  }
}

template <typename S>
void scatter(const RoiSamples<Accumulator<S>>& roi, const Block<const S>& grad,
    const Block<const int32_t>& tags, Accumulator<S>* panel) {
  using T = Accumulator<S>;
  for_each_winner(roi, tags, [&](int64_t bin, int64_t lane, int64_t sample) {
    const T value = static_cast<T>(grad.data[bin * grad.item_stride + lane * grad.lane_stride]);
    for (int64_t t = sample < 0 ? 0 : roi.tap[sample]; sample >= 0 && t < roi.tap[sample + 1];
        ++t) {
      panel[int64_t{roi.taps[t].pixel} * kLanes<T> + lane] += roi.taps[t].weight * value;
    }
  });
}

template <typename S>
void products(const RoiSamples<Accumulator<S>>& roi, const Block<const S>& grad,
    const Block<const int32_t>& tags, const Block<const S>& in, Accumulator<S>* products) {
  using T = Accumulator<S>;
  for (int64_t t = 0; t < roi.tap[roi.start[roi.bins]]; ++t) {
    products[t] = T(0);
  }
  for_each_winner(roi, tags, [&](int64_t bin, int64_t lane, int64_t sample) {
    const T value = static_cast<T>(grad.data[bin * grad.item_stride + lane * grad.lane_stride]);
    const S* const at = in.data + lane * in.lane_stride;
    for (int64_t t = sample < 0 ? 0 : roi.tap[sample]; sample >= 0 && t < roi.tap[sample + 1];
        ++t) {
      products[t] += value * static_cast<T>(at[roi.taps[t].pixel * in.item_stride]);
    }
  });
}

}  // namespace

template <typename S>
const MaxEngine<S>& max_engine() {
  static constexpr MaxEngine<S> kEngine = {
      &select<S>, &select_panel<S>, &gather<S>, &scatter_pixels<S>, &scatter<S>, &products<S>};
  return kEngine;
}

template const MaxEngine<double>& max_engine<double>();
template const MaxEngine<float>& max_engine<float>();
template const MaxEngine<c10::Half>& max_engine<c10::Half>();
template const MaxEngine<c10::BFloat16>& max_engine<c10::BFloat16>();

}  // namespace roiops::cpu::ROIOPS_ISA
