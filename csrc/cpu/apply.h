// Applies a chunk of taps to whole tensors: cuts the work into pieces for threads and panels.
#pragma once

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

// in[image, channel, pixel] += sum over taps of weight * grad[roi, channel, bin]. Only the first
// chunk may find `in` of a narrower type than the accumulator: a sum is rounded once.
template <typename S, typename In>
void scatter_chunk(
    const TapChunk<Accumulator<S>>& chunk, const View<const S>& grad, const View<In>& in);

// out[roi, channel, bin] = value where a bin has no tap.
template <typename S>
void fill_empty_bins(const TapChunk<Accumulator<S>>& chunk, S value, const View<S>& out);

}  // namespace roiops::cpu
