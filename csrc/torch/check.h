// Argument checks and output shapes, once for every backend and for Meta. Symbolic sizes stay
// symbolic. Every message reads: op: `argument` must ..., but got <value>.
#pragma once

#include "core/sampling.h"
#include "torch/mean_op.h"

namespace roiops {

// What a checked call asks, as the geometries take it.
SamplingOptions sampling_options(const MeanCall& call);
bool is_position_sensitive(const MeanCall& call);

// Each checks a whole call and returns its results, uninitialised. What only the data can tell (the
// boxes' image numbers) is left to the kernel.
Tensor prepare_mean(const MeanArgs& args);
Tensor prepare_mean_backward(const Tensor& grad, const MeanArgs& args, SymIntArrayRef input_size);
// By the boxes and by the extra tensor; the latter is empty if that takes no gradient.
std::tuple<Tensor, Tensor> prepare_mean_backward_boxes(const Tensor& grad, const MeanArgs& args);
// An undefined tangent is zero.
Tensor prepare_mean_jvp_boxes(
    const MeanArgs& args, const Tensor& boxes_tangent, const Tensor& extra_tangent);

}  // namespace roiops
