// The CPU engine: one RoI's taps applied to some channels.
//
// NOTE [Engine]
// The taps of a RoI are rows of a sparse matrix A [bins, pixels]. The engine knows three products
// and nothing of the op they belong to:
//   gather   out  = A in            forward, double backward, tangents
//   scatter  in  += A^T grad        backward by the features
//   products A_t  = <grad, in>_c    backward by the entries of A, which geometry turns into box
//                                   gradients
// The rows of A are listed (RoiTaps) or products of two axes (RoiAxes), and summed in the same
// order: a result does not depend on the memory format, nor on what else is computed. Only maps of
// a few channels are summed plane by plane, rows first. A panel holds kLanes channels of an image
// pixel by pixel, in the accumulator type, so that one tap is a few vector loads for any storage
// type and memory format.
//
// engine.cpp, max_engine.cpp and iou_engine.cpp are compiled once per instruction set, in
// roiops::cpu::ROIOPS_ISA, and no other file is. They take raw pointers and plain data, no ATen and
// no std container: their inline functions would be shared with the objects of older instruction
// sets.
#pragma once

#include "cpu/types.h"

namespace roiops::cpu {

// The products of RoiTaps or of RoiAxes.
template <typename S, template <typename> typename RoiOf>
struct Products {
  using T = Accumulator<S>;
  using Roi = RoiOf<T>;

  // Reads the features where they lie. Best where channels are contiguous or taps are few.
  void (*gather)(const Roi& roi, const Block<const S>& in, const Block<S>& out);
  // in += A^T grad in place, for pixels [first, end) alone, with the first of which `in` starts.
  // Best where channels are contiguous or few, or each bin has its own.
  void (*scatter)(
      const Roi& roi, const Block<const S>& grad, const Block<T>& in, int64_t first, int64_t end);
  // The same with a panel.
  void (*gather_panel)(const Roi& roi, const T* panel, int64_t first, const Block<S>& out);
  void (*scatter_panel)(
      const Roi& roi, const Block<const S>& grad, T* panel, int64_t first, int64_t end);
};

template <typename S>
struct Engine {
  using T = Accumulator<S>;

  Products<S, RoiTaps> taps;
  Products<S, RoiAxes> axes;

  // gather and scatter where the pixels of a row are neighbours in memory and channels few. `row`
  // has room for a row of the map.
  void (*gather_planes)(
      const RoiAxes<T>& roi, const Block<const S>& in, const Block<S>& out, T* row);
  void (*scatter_planes)(const RoiAxes<T>& roi, const Block<const S>& grad, const Block<T>& in,
      int64_t first, int64_t end, T* row);
  // products[t] = sum over the lanes of grad[bin of t] * in[pixel of t]
  void (*products)(
      const RoiTaps<T>& roi, const Block<const S>& grad, const Block<const S>& in, T* products);
  // products[t] += the same over all lanes of `count` panels of features and of bins
  void (*add_products)(const RoiTaps<T>& roi, const Panels<T>& grad, const Panels<T>& in,
      int64_t count, T* products);
  // Some pixels of an image. Lanes beyond in.lanes are zero-filled; unpack leaves them out.
  void (*pack)(const Block<const S>& in, int64_t pixels, T* panel);
  void (*unpack)(const T* panel, int64_t pixels, const Block<S>& out);
  void (*narrow)(const T* sums, int64_t count, S* out);

  const Products<S, RoiTaps>& of(const RoiTaps<T>&) const {
    return taps;
  }
  const Products<S, RoiAxes>& of(const RoiAxes<T>&) const {
    return axes;
  }
};

// The engine of this machine's instruction set.
template <typename S>
const Engine<S>& engine();

}  // namespace roiops::cpu
