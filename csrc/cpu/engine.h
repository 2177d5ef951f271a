// The CPU engine: one RoI's taps applied to some channels.
//
// NOTE [Engine]
// The taps of a RoI are rows of a sparse matrix A [bins, pixels]. The engine knows three products
// and nothing of the op they belong to:
//   gather   out  = A in            forward, double backward, tangents
//   scatter  in  += A^T grad        backward by the features
//   products A_t  = <grad, in>_c    backward by the entries of A, which geometry turns into box
//                                   gradients
// A panel holds kLanes channels of an image pixel by pixel, in the accumulator type, so that one
// tap is a few vector loads for any storage type and memory format.
//
// engine.cpp and max_engine.cpp are the only files compiled once per instruction set, in
// roiops::cpu::ROIOPS_ISA. It takes raw pointers and plain data, no ATen and no std container:
// their inline functions would be shared with the objects of older instruction sets.
#pragma once

#include "cpu/types.h"

namespace roiops::cpu {

template <typename S>
struct Engine {
  using T = Accumulator<S>;

  // Reads the features where they lie. Best where channels are contiguous or taps are few.
  void (*gather)(const RoiTaps<T>& roi, const Block<const S>& in, const Block<S>& out);
  // in += A^T grad in place, for few channels, where a panel would be mostly empty.
  void (*scatter)(const RoiTaps<T>& roi, const Block<const S>& grad, const Block<T>& in);
  // A panel starts with the image's pixel `first`.
  void (*gather_panel)(const RoiTaps<T>& roi, const T* panel, int64_t first, const Block<S>& out);
  void (*scatter_panel)(const RoiTaps<T>& roi, const Block<const S>& grad, T* panel, int64_t first);
  // products[t] = sum over the lanes of grad[bin of t] * in[pixel of t]
  void (*products)(
      const RoiTaps<T>& roi, const Block<const S>& grad, const Block<const S>& in, T* products);
  // Some pixels of an image. Lanes beyond in.lanes are zero-filled; unpack leaves them out.
  void (*pack)(const Block<const S>& in, int64_t pixels, T* panel);
  void (*unpack)(const T* panel, int64_t pixels, const Block<S>& out);
};

// The engine of this machine's instruction set.
template <typename S>
const Engine<S>& engine();

}  // namespace roiops::cpu
