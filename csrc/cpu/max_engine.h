// The CPU engine of operators that take the maximum of a bin's samples. See NOTE [Engine]; this
// one applies a matrix that it chooses itself, and whose choice, the winners, can be applied again.
#pragma once

#include "cpu/types.h"

namespace roiops::cpu {

// The samples of one RoI: those of bin b are start[b] .. start[b + 1] - 1, the taps of sample s are
// taps[tap[s]] .. taps[tap[s + 1] - 1]. A winner is named by its sample's tag.
template <typename T>
struct RoiSamples {
  int64_t bins;
  const int64_t* start;  // [bins + 1]
  const int64_t* tap;    // [samples + 1]
  const int32_t* tag;    // [samples]; null: the sample's number in its bin
  const Tap<T>* taps;
};

template <typename S>
struct MaxEngine {
  using T = Accumulator<S>;

  // The first of the largest samples; NaN counts as largest. A bin without samples has value 0 and
  // winner -1.
  void (*select)(const RoiSamples<T>& roi, const Block<const S>& in, const Block<S>& out,
      const Block<int32_t>& winner);
  // The same from a panel that starts with the image's pixel `first`.
  void (*select_panel)(const RoiSamples<T>& roi, const T* panel, int64_t first, const Block<S>& out,
      const Block<int32_t>& winner);
  // out = the winners' taps applied to in
  void (*gather)(const RoiSamples<T>& roi, const Block<const S>& in,
      const Block<const int32_t>& winner, const Block<S>& out);
  // in[winner] += grad, where winners are named by their pixels; other numbers name none
  void (*scatter_pixels)(int64_t bins, const Block<const S>& grad,
      const Block<const int32_t>& winner, int64_t pixels, const Block<T>& in);
  // panel += the transpose
  void (*scatter)(const RoiSamples<T>& roi, const Block<const S>& grad,
      const Block<const int32_t>& winner, T* panel);
  // products[t] = sum over the lanes whose winner has tap t of grad * in
  void (*products)(const RoiSamples<T>& roi, const Block<const S>& grad,
      const Block<const int32_t>& winner, const Block<const S>& in, T* products);
};

template <typename S>
const MaxEngine<S>& max_engine();

}  // namespace roiops::cpu
