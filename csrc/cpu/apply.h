// Applies a chunk of taps to whole tensors: cuts the work into pieces for threads, panels and
// bands.
//
// Features are read where they lie if they are channels_last, if taps are few and, plane by plane,
// if channels are; else, and for large RoIs one upon another, they are packed into panels.
// Backward, a thread owns some channels, some rows, or both of an image, and adds all RoIs' shares
// in order.
#pragma once

#include "cpu/axis_plan.h"
#include "cpu/tap_plan.h"
#include "cpu/types.h"

namespace roiops::cpu {

// One view per level of the feature pyramid.
template <typename S>
using Views = std::vector<View<S>>;

// out[roi, channel, bin] = sum over taps of weight * in[image, channel, pixel]. Every element of
// `out` that belongs to the chunk is written, by one thread.
template <typename S>
void gather_chunk(
    const TapChunk<Accumulator<S>>& chunk, const Views<const S>& in, const View<S>& out);
template <typename S>
void gather_chunk(
    const AxisChunk<Accumulator<S>>& chunk, const Views<const S>& in, const View<S>& out);

// in[image, channel, pixel] += sum over taps of weight * grad[roi, channel, bin]; the first chunk
// writes the whole of `in`. Only if there is no other chunk may `in` be of a narrower type than the
// accumulator: a sum is rounded once.
template <typename S, typename In>
void scatter_chunk(const TapChunk<Accumulator<S>>& chunk, const View<const S>& grad,
    const View<In>& in, int64_t images);
template <typename S, typename In>
void scatter_chunk(const AxisChunk<Accumulator<S>>& chunk, const View<const S>& grad,
    const View<In>& in, int64_t images);

// out[roi, channel, bin] = value where a bin has no tap.
template <typename Chunk, typename S>
void fill_empty_bins(const Chunk& chunk, S value, const View<S>& out);

}  // namespace roiops::cpu
