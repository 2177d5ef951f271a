// The CPU engine of operators that take the maximum of a bin's samples. See NOTE [Engine]; this
// one applies a matrix that it chooses itself, and whose choice, the winners, can be applied again.
//
// NOTE [Winners]
// The first of the largest samples wins, row by row; NaN counts as largest. A bin without samples
// has value 0 and winner -1. Numbers that name no sample, whatever they are, are left out;
// backward of winners that are named by pixels takes any pixel between the RoIs' first and last.
#pragma once

#include "core/axis_samples.h"
#include "cpu/types.h"

namespace roiops::cpu {

// The samples of bin p on one axis are samples[start[p]] .. samples[start[p + 1] - 1].
template <typename T>
struct AxisSamples {
  int64_t bins;
  const int64_t* start;  // [bins + 1]
  const AxisSample<T>* samples;

  int64_t count() const {
    return start[bins] - start[0];
  }
};

// The samples of a bin of one RoI are the outer product of those of its axes, so that a list of
// them is short, and all RoIs' are listed at once.
template <typename T>
struct RoiSamples {
  AxisSamples<T> y, x;
  int32_t width;  // of the map
  // Samples are neighbouring whole pixels, and winners are named by their position in the plane, as
  // torchvision's argmax; otherwise by the number of the sample in its bin.
  bool pixels;

  int64_t bins() const {
    return y.bins * x.bins;
  }
};

// Panels that are searched together: a power of two.
inline constexpr int32_t kSelectPanels = 2;

// Of a sample, at most.
inline constexpr int64_t kSampleTaps = 4;

template <typename S>
struct MaxEngine {
  using T = Accumulator<S>;

  // The largest samples, see NOTE [Winners]
  void (*select)(const RoiSamples<T>& roi, const Block<const S>& in, const Block<S>& out,
      const Block<int32_t>& winner);
  // The same from panels, one for every kLanes channels.
  void (*select_panels)(const RoiSamples<T>& roi, const Panels<T>& in, const Block<S>& out,
      const Block<int32_t>& winner);
  // out = the winners' taps applied to in, with the weight of tap t of the RoI's sample s in
  // weights[kSampleTaps * s + t]
  void (*gather)(const RoiSamples<T>& roi, const T* weights, const Block<const S>& in,
      const Block<const int32_t>& winner, const Block<S>& out);
  // in[winner] += grad for the `pixels` pixels from `first` on, by which winners are named
  void (*scatter_pixels)(int64_t bins, const Block<const S>& grad,
      const Block<const int32_t>& winner, int64_t first, int64_t pixels, const Block<T>& in);
  // panel += the transpose of select, where winners are named by their numbers
  void (*scatter_panel)(const RoiSamples<T>& roi, const Block<const S>& grad,
      const Block<const int32_t>& winner, T* panel, int64_t first);
  // products, where the weights are in gather: sum over the lanes whose winner has the tap of
  // grad * in
  void (*products)(const RoiSamples<T>& roi, const Block<const S>& grad,
      const Block<const int32_t>& winner, const Block<const S>& in, T* products);
};

template <typename S>
const MaxEngine<S>& max_engine();

}  // namespace roiops::cpu
