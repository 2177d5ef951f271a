// Tensors as every engine sees them: plain data, no ATen.
#pragma once

#include <cstdint>
#include <type_traits>

#include <c10/macros/Macros.h>

namespace roiops {

// Weights and sums are float, double for double; storage types only at load and store.
template <typename S>
using Accumulator = std::conditional_t<std::is_same_v<S, double>, double, float>;

// Some channels (lanes) of one image (an item is a pixel) or of one RoI (an item is a bin).
template <typename S>
struct Block {
  S* data;
  int64_t item_stride;
  int64_t lane_stride;
  int64_t lanes;
  int64_t bin_stride = 0;  // of an image: from the channel that one bin reads to the next bin's
};

// Tensor[N, C, H, W] or Tensor[K, C, PH, PW] whose last two dimensions are one: outer is the image
// or RoI, an item is a pixel or bin. Strides in elements; any of them may be zero.
//
// NOTE [Channel map]
// Output channel c at bin b reads input channel c, or for a position-sensitive op c * bins + b:
// seen from the outputs, its input has bins times the channel stride, and moves by one channel
// from bin to bin.
template <typename S>
struct View {
  S* data;
  int64_t outer_stride;
  int64_t channel_stride;
  int64_t item_stride;
  int64_t channels;  // of the output
  int64_t items;
  int64_t bin_stride = 0;

  C10_HOST_DEVICE S* at(int64_t outer, int64_t channel, int64_t item) const {
    return data + outer * outer_stride + channel * channel_stride + item * item_stride;
  }
  C10_HOST_DEVICE Block<S> block(int64_t outer, int64_t channel, int64_t lanes) const {
    return {at(outer, channel, 0), item_stride, channel_stride, lanes, bin_stride};
  }
};

}  // namespace roiops
