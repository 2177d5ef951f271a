// Argument checks and output shapes, once for every backend and for Meta. Symbolic sizes stay
// symbolic. Every message reads: op: `argument` must ..., but got <value>.
#pragma once

#include <ATen/ATen.h>

#include "torch/ops.h"

namespace roiops {

// Feature maps [N, C, H, W] and boxes [K, 5] of floating dtypes on one device.
void check_input_and_boxes(const char* op, const at::Tensor& input, const at::Tensor& rois);

void check_args(const char* op, const RoiAlignArgs<c10::SymInt>& args);

// grad must have shape [K, C, PH, PW].
void check_grad(const char* op, const at::Tensor& grad, const at::Tensor& rois,
    const c10::SymInt& channels, const RoiAlignArgs<c10::SymInt>& args);

// The forward's result: [K, C, PH, PW] in the dtype and memory format of `input`.
at::Tensor new_output(
    const at::Tensor& input, const at::Tensor& rois, const RoiAlignArgs<c10::SymInt>& args);

// Checks of the whole call; each returns an uninitialised result.
at::Tensor prepare_roi_align(const char* op, const at::Tensor& input, const at::Tensor& rois,
    const RoiAlignArgs<c10::SymInt>& args);
at::Tensor prepare_roi_align_backward(const char* op, const at::Tensor& grad,
    const at::Tensor& rois, const RoiAlignArgs<c10::SymInt>& args, c10::SymIntArrayRef input_size);
at::Tensor prepare_roi_align_backward_rois(const char* op, const at::Tensor& grad,
    const at::Tensor& input, const at::Tensor& rois, const RoiAlignArgs<c10::SymInt>& args);
at::Tensor prepare_roi_align_jvp_rois(const char* op, const at::Tensor& input,
    const at::Tensor& rois, const at::Tensor& tangent, const RoiAlignArgs<c10::SymInt>& args);

}  // namespace roiops
