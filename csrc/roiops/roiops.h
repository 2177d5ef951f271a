// roiops for C++: RoI operators for libtorch programs.
//
// Linking the library registers the operators with PyTorch's dispatcher, so that TorchScript
// models, AOTInductor packages and torch::Library lookups find them; the functions below call
// them directly, with autograd.
//
// In every function, unless it says otherwise:
//   input  [N, C, H, W], double, float, half or bfloat16, any memory format
//   rois   [K, 5], (image, x1, y1, x2, y2) in image coordinates; any of these dtypes
//   spatial_scale  feature-map pixels per unit of the boxes
//   sampling_ratio samples per bin and axis; <= 0 takes one per feature-map pixel, rounded up
//   aligned        pixel centres lie at integer + 0.5
// The result is [K, C, pooled_height, pooled_width] in the dtype and memory format of `input`.
// Gradients flow to `input`, of any order, and to `rois`, of first order. A wrong argument throws
// c10::Error, a box that names no image c10::IndexError (on CUDA it is a device-side assertion).
// docs/semantics.md has the formulae.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <tuple>

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

// The mean of bilinear samples in each bin (Mask R-CNN, arXiv:1703.06870).
ROIOPS_API at::Tensor roi_align(const at::Tensor& input, const at::Tensor& rois,
    double spatial_scale, int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio = -1,
    bool aligned = false);

// The largest of the samples of roi_align, and which one it is: int32, its number, in scan order,
// among the bin's samples that lie on the map; -1 in a bin without any.
ROIOPS_API std::tuple<at::Tensor, at::Tensor> roi_align_max(const at::Tensor& input,
    const at::Tensor& rois, double spatial_scale, int64_t pooled_height, int64_t pooled_width,
    int64_t sampling_ratio = -1, bool aligned = false);

// The largest of the whole pixels of each bin (Fast R-CNN, arXiv:1504.08083), and which one it is:
// int32, h * W + w, -1 in an empty bin. No gradient to `rois`.
ROIOPS_API std::tuple<at::Tensor, at::Tensor> roi_pool(const at::Tensor& input,
    const at::Tensor& rois, double spatial_scale, int64_t pooled_height, int64_t pooled_width);

// roi_align, aligned, in which each bin reads channels of its own (Light-Head R-CNN,
// arXiv:1711.07264): the result has C / (pooled_height * pooled_width) channels.
ROIOPS_API at::Tensor ps_roi_align(const at::Tensor& input, const at::Tensor& rois,
    double spatial_scale, int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio = -1);

// The mean of the whole pixels of each bin, in channels of its own (R-FCN, arXiv:1605.06409). No
// gradient to `rois`.
ROIOPS_API at::Tensor ps_roi_pool(const at::Tensor& input, const at::Tensor& rois,
    double spatial_scale, int64_t pooled_height, int64_t pooled_width);

// TensorFlow's operator. boxes: [K, 4], (y1, x1, y2, x2), normalised by the image's last row and
// column; box_indices: [K], int32 or int64. Integer images are converted to float. `method` is
// "bilinear" or "nearest" (no gradient to `boxes`); outside the image extrapolation_value is read.
ROIOPS_API at::Tensor crop_and_resize(const at::Tensor& image, const at::Tensor& boxes,
    const at::Tensor& box_indices, int64_t crop_height, int64_t crop_width,
    std::string_view method = "bilinear", double extrapolation_value = 0);

// roi_align on turned boxes (RRPN, arXiv:1703.01086). rois: [K, 6], (image, cx, cy, w, h, angle in
// radians).
ROIOPS_API at::Tensor roi_align_rotated(const at::Tensor& input, const at::Tensor& rois,
    double spatial_scale, int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio = -1,
    bool aligned = true, bool clockwise = false);

// The mean of the bilinear surface over each bin, integrated exactly (IoU-Net, arXiv:1807.11590).
ROIOPS_API at::Tensor prroi_pool(const at::Tensor& input, const at::Tensor& rois,
    double spatial_scale, int64_t pooled_height, int64_t pooled_width);

// roi_align, aligned, with bins that are moved by `offset` (deformable convolutional networks,
// arXiv:1703.06211): [K, 2, pooled_height, pooled_width], x then y, in units of gamma times the
// box's size. Gradients flow to `offset` too.
ROIOPS_API at::Tensor deform_roi_pool(const at::Tensor& input, const at::Tensor& rois,
    const std::optional<at::Tensor>& offset, double spatial_scale, int64_t pooled_height,
    int64_t pooled_width, int64_t sampling_ratio = 0, double gamma = 0.1);

// roi_align on a feature pyramid (FPN, arXiv:1612.03144): each box is pooled from the level that
// its size picks. A box of canonical_scale belongs to canonical_level; level 2 has a scale of 1/4.
ROIOPS_API at::Tensor multiscale_roi_align(at::TensorList features, const at::Tensor& rois,
    at::ArrayRef<double> spatial_scales, int64_t pooled_height, int64_t pooled_width,
    int64_t sampling_ratio = -1, bool aligned = false, int64_t canonical_scale = 224,
    int64_t canonical_level = 4);

// Non-maximum suppression: the numbers of the kept boxes, int64, by decreasing score. A box is kept
// unless its IoU with one kept before is above iou_threshold (0 to 1). boxes: [N, 4], (x1, y1, x2,
// y2); scores: [N]. docs/nms.md has the rules. Waits for a CUDA device, unlike nms_padded.
ROIOPS_API at::Tensor nms(const at::Tensor& boxes, const at::Tensor& scores, double iou_threshold);

// nms in which only boxes of one class suppress each other. idxs: [N], the classes, any integers.
ROIOPS_API at::Tensor batched_nms(const at::Tensor& boxes, const at::Tensor& scores,
    const at::Tensor& idxs, double iou_threshold);

// nms of turned boxes: [N, 5], (cx, cy, w, h, angle in radians).
ROIOPS_API at::Tensor nms_rotated(const at::Tensor& boxes, const at::Tensor& scores,
    double iou_threshold, const std::optional<at::Tensor>& idxs = std::nullopt,
    bool clockwise = false);

// Lowers the scores of boxes that overlap better ones (Soft-NMS, arXiv:1704.04503), until none of
// min_score is left: the boxes' numbers and their lowered scores. `method` is "linear" or
// "gaussian"; boxes: [N, 4] or [N, 5].
ROIOPS_API std::tuple<at::Tensor, at::Tensor> soft_nms(const at::Tensor& boxes,
    const at::Tensor& scores, double iou_threshold = 0.3, double sigma = 0.5,
    double min_score = 1e-3, std::string_view method = "linear",
    const std::optional<at::Tensor>& idxs = std::nullopt, bool clockwise = false);

// The same with results of fixed size, for each image: boxes are [N, 4], [N, 5], [B, N, 4] or
// [B, N, 5], and what goes with them has the dimensions before the last. max_output numbers, -1
// behind the kept ones, and how many are kept. Boxes take part whose score is above
// score_threshold.
ROIOPS_API std::tuple<at::Tensor, at::Tensor> nms_padded(const at::Tensor& boxes,
    const at::Tensor& scores, double iou_threshold, int64_t max_output,
    const std::optional<at::Tensor>& idxs = std::nullopt,
    std::optional<double> score_threshold = std::nullopt, bool clockwise = false);

// Numbers, lowered scores, and how many.
ROIOPS_API std::tuple<at::Tensor, at::Tensor, at::Tensor> soft_nms_padded(const at::Tensor& boxes,
    const at::Tensor& scores, int64_t max_output, double iou_threshold = 0.3, double sigma = 0.5,
    double min_score = 1e-3, std::string_view method = "linear",
    const std::optional<at::Tensor>& idxs = std::nullopt, bool clockwise = false);

// Intersection over union of every box of [N, 4] with every one of [M, 4]: [N, M], float or double.
// Gradients flow to both, of any order.
ROIOPS_API at::Tensor box_iou(const at::Tensor& boxes1, const at::Tensor& boxes2);

// Of turned boxes, [N, 5] and [M, 5]; no gradient.
ROIOPS_API at::Tensor box_iou_rotated(
    const at::Tensor& boxes1, const at::Tensor& boxes2, bool clockwise = false);

// From now on torchvision's roi_align, roi_pool and ps_roi_align, forward and backward, and its
// nms, run on the kernels of this library, on the CPU and, if they were built, on CUDA:
// docs/torchvision.md. Its library must be loaded first. A second call does nothing. Throws, and
// changes nothing, if torchvision's operators are missing or have other arguments. Do not call it
// while another thread runs these operators.
ROIOPS_API void patch_torchvision();

// torchvision's own kernels again.
ROIOPS_API void unpatch_torchvision();

}  // namespace roiops

#if !defined(ROIOPS_BUILD) && (defined(__GNUC__) || defined(__clang__))
namespace {
// Operators register from static constructors. This reference keeps the library among those that
// a program loads even when the linker is told to drop libraries that nothing calls.
[[gnu::used]] const char* (*const roiops_keep)() = &roiops::version;
}  // namespace
#endif
