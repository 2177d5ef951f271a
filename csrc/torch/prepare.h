// Whole calls: checked, and their results allocated, once for every backend and for Meta. What only
// the data can tell (the boxes' image numbers) is left to the kernel.
#pragma once

#include "core/sampling.h"
#include "torch/mean_op.h"

namespace roiops {

// channels_last if the strides of four dimensions say so, with the rule of
// Tensor::suggest_memory_format except for empty tensors; sizes that only the data know do not
// stand in its way. Results have the format of what they are computed from.
at::MemoryFormat format_of(const Tensor& tensor);

// What a checked call asks, as the geometries take it.
SamplingOptions sampling_options(const RoiCall& call);
bool is_position_sensitive(const RoiCall& call);

// Each checks a whole call and returns its results, uninitialised.
Tensor prepare_mean(const RoiArgs& args);
Tensor prepare_mean_backward(const Tensor& grad, const RoiArgs& args, SymIntArrayRef input_size);
// By the boxes and by the extra tensor; the latter is empty if that takes no gradient.
std::tuple<Tensor, Tensor> prepare_mean_backward_boxes(const Tensor& grad, const RoiArgs& args);
// An undefined tangent is zero.
Tensor prepare_mean_jvp_boxes(
    const RoiArgs& args, const Tensor& boxes_tangent, const Tensor& extra_tangent);

// The same for operators that take a maximum; argmax is int32 in the layout of the values.
std::tuple<Tensor, Tensor> prepare_max(const RoiArgs& args);
Tensor prepare_max_select(const RoiArgs& args, const Tensor& argmax, const Tensor& boxes_tangent);
Tensor prepare_max_backward(
    const Tensor& grad, const Tensor& argmax, const RoiArgs& args, SymIntArrayRef input_size);
Tensor prepare_max_backward_boxes(const Tensor& grad, const Tensor& argmax, const RoiArgs& args);

}  // namespace roiops
