// See NOTE [Engine].
#include "cpu/engine.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#ifndef ROIOPS_ISA
#error "compile this file with ROIOPS_ISA=<name of the instruction set>"
#endif

namespace roiops::cpu::ROIOPS_ISA {
namespace {

template <typename T>
int64_t min_lanes(int64_t lanes) {
  return lanes < kLanes<T> ? lanes : kLanes<T>;
}

// sum[lane] = sum over taps of weight * in[pixel, lane]. Count is known to the compiler in the
// common case, a full panel, and the sums then stay in registers.
template <typename T, typename In>
void sum_taps(const Tap<T>* begin, const Tap<T>* end, const Block<const In>& in, T* sum) {
  for (int32_t lane = 0; lane < kLanes<T>; ++lane) {
    sum[lane] = T(0);
  }
  if (in.lane_stride == 1 && in.lanes == kLanes<T>) {
    for (const Tap<T>* tap = begin; tap != end; ++tap) {
      const In* const at = in.data + (tap->pixel - in.first_item) * in.item_stride;
      for (int32_t lane = 0; lane < kLanes<T>; ++lane) {
        sum[lane] += tap->weight * static_cast<T>(at[lane]);
      }
    }
    return;
  }
  for (const Tap<T>* tap = begin; tap != end; ++tap) {
    const In* const at = in.data + (tap->pixel - in.first_item) * in.item_stride;
    for (int64_t lane = 0; lane < in.lanes; ++lane) {
      sum[lane] += tap->weight * static_cast<T>(at[lane * in.lane_stride]);
    }
  }
}

template <typename T, typename In, typename Out>
void gather_block(const RoiTaps<T>& roi, Block<const In> in, const Block<Out>& out) {
  for (int64_t bin = 0; bin < roi.bins; ++bin, in.data += in.bin_stride) {
    T sum[kLanes<T>];
    sum_taps(roi.taps + roi.start[bin], roi.taps + roi.start[bin + 1], in, sum);
    Out* const at = out.data + bin * out.item_stride;
    for (int64_t lane = 0; lane < out.lanes; ++lane) {
      at[lane * out.lane_stride] = static_cast<Out>(sum[lane]);
    }
  }
}

template <typename S>
void gather(const RoiTaps<Accumulator<S>>& roi, const Block<const S>& in, const Block<S>& out) {
  using T = Accumulator<S>;
  for (int64_t lane = 0; lane < in.lanes; lane += kLanes<T>) {
    const int64_t lanes = min_lanes<T>(in.lanes - lane);
    gather_block<T, S, S>(roi,
        {in.data + lane * in.lane_stride, in.item_stride, in.lane_stride, lanes, in.bin_stride},
        {out.data + lane * out.lane_stride, out.item_stride, out.lane_stride, lanes});
  }
}

template <typename S>
void gather_panel(const RoiTaps<Accumulator<S>>& roi, const Accumulator<S>* panel, int64_t first,
    const Block<S>& out) {
  using T = Accumulator<S>;
  gather_block<T, T, S>(roi, {panel, kLanes<T>, 1, kLanes<T>, 0, first}, out);
}

template <typename S>
void scatter_panel(const RoiTaps<Accumulator<S>>& roi, const Block<const S>& grad,
    Accumulator<S>* panel, int64_t first) {
  using T = Accumulator<S>;
  T value[kLanes<T>] = {};
  for (int64_t bin = 0; bin < roi.bins; ++bin) {
    const S* const at = grad.data + bin * grad.item_stride;
    for (int64_t lane = 0; lane < grad.lanes; ++lane) {
      value[lane] = static_cast<T>(at[lane * grad.lane_stride]);
    }
    for (int64_t t = roi.start[bin]; t < roi.start[bin + 1]; ++t) {
      T* const pixel = panel + (roi.taps[t].pixel - first) * kLanes<T>;
      for (int32_t lane = 0; lane < kLanes<T>; ++lane) {
        pixel[lane] += roi.taps[t].weight * value[lane];
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

// Both operands have contiguous channels: one dot product per tap, in kLanes partial sums.
template <typename S, typename T = Accumulator<S>>
T dot(const S* a, const S* b, int64_t count) {
  T sum[kLanes<T>] = {};
  int64_t i = 0;
  for (; i + kLanes<T> <= count; i += kLanes<T>) {
    for (int32_t lane = 0; lane < kLanes<T>; ++lane) {
      sum[lane] += static_cast<T>(a[i + lane]) * static_cast<T>(b[i + lane]);
    }
  }
  T total = T(0);
  for (; i < count; ++i) {
    total += static_cast<T>(a[i]) * static_cast<T>(b[i]);
  }
  for (int32_t lane = 0; lane < kLanes<T>; ++lane) {
    total += sum[lane];
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

template <typename S>
void pack(const Block<const S>& in, int64_t pixels, Accumulator<S>* panel) {
  using T = Accumulator<S>;
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    const S* const at = in.data + pixel * in.item_stride;
    T* const to = panel + pixel * kLanes<T>;
    for (int64_t lane = 0; lane < in.lanes; ++lane) {
      to[lane] = static_cast<T>(at[lane * in.lane_stride]);
    }
    for (int64_t lane = in.lanes; lane < kLanes<T>; ++lane) {
      to[lane] = T(0);
    }
  }
}

template <typename S>
void unpack(const Accumulator<S>* panel, int64_t pixels, const Block<S>& out) {
  using T = Accumulator<S>;
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    const T* const from = panel + pixel * kLanes<T>;
    S* const at = out.data + pixel * out.item_stride;
    for (int64_t lane = 0; lane < out.lanes; ++lane) {
      at[lane * out.lane_stride] = static_cast<S>(from[lane]);
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
