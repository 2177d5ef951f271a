// Argument checks and output shapes, once for every backend and for Meta. Symbolic sizes stay
// symbolic. Every message reads: op: `argument` must ..., but got <value>.
#pragma once

#include "core/sampling.h"
#include "torch/mean_op.h"

namespace roiops {

// The options of a sampling op, from a checked call.
SamplingOptions sampling_options(const MeanCall& call);

// A derivative's call: the output size is that of `grad`, which must have four dimensions.
MeanCall unpack_grad(const Tensor& grad, std::string_view op, at::ArrayRef<double> options);

// Each checks a whole call and returns its result, uninitialised. What only the data can tell (the
// boxes' image numbers) is left to the kernel.
Tensor prepare_mean(const Tensor& input, const Tensor& boxes, const MeanCall& call);
Tensor prepare_mean_backward(
    const Tensor& grad, const Tensor& boxes, c10::SymIntArrayRef input_size, const MeanCall& call);
Tensor prepare_mean_backward_boxes(
    const Tensor& grad, const Tensor& input, const Tensor& boxes, const MeanCall& call);
Tensor prepare_mean_jvp_boxes(
    const Tensor& input, const Tensor& boxes, const Tensor& tangent, const MeanCall& call);

}  // namespace roiops
