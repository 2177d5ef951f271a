// roiops for C++: RoI operators for libtorch programs.
//
// Linking the library registers the operators with PyTorch's dispatcher, so that TorchScript
// models, AOTInductor packages and torch::Library lookups find them; the functions below call
// them directly, with autograd.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#if defined(_WIN32)
#if defined(ROIOPS_BUILD)
#define ROIOPS_API __declspec(dllexport)
#else
#define ROIOPS_API __declspec(dllimport)
#endif
#else
#define ROIOPS_API __attribute__((visibility("default")))
#endif

namespace roiops {

// The library's version, "major.minor.patch".
ROIOPS_API const char* version();

// Average bilinear samples of `input` in each bin (Mask R-CNN, arXiv:1703.06870).
//
// input: [N, C, H, W], double, float, half or bfloat16, any memory format.
// rois: [K, 5], (image, x1, y1, x2, y2) in image coordinates; any of these dtypes.
// Returns [K, C, pooled_height, pooled_width] in the dtype and memory format of `input`.
// sampling_ratio: samples per bin and axis; <= 0 takes one per feature-map pixel, rounded up.
// aligned: pixel centres lie at integer + 0.5. Gradients flow to `input` and to `rois`.
// Throws c10::Error on a wrong argument, c10::IndexError when a box names no image.
ROIOPS_API at::Tensor roi_align(const at::Tensor& input, const at::Tensor& rois,
    double spatial_scale, int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio = -1,
    bool aligned = false);

}  // namespace roiops

#if !defined(ROIOPS_BUILD) && (defined(__GNUC__) || defined(__clang__))
namespace {
// Operators register from static constructors. This reference keeps the library among those that
// a program loads even when the linker is told to drop libraries that nothing calls.
[[gnu::used]] const char* (*const roiops_keep)() = &roiops::version;
}  // namespace
#endif
