// What the operators on boxes alone (NMS, IoU) have in common above the kernels. They pool no
// features, so that nothing of NOTE [Mean ops] concerns them.
//
// NOTE [Padded NMS]
// The operators have static shapes: `max_output` numbers of boxes, of which the first `count` are
// meant and the others are kNoBox. No kernel waits for the device, and graphs hold no size that
// only the data know, until a caller cuts the result to its count: nms and the other functions
// without "padded" are that cut, in Python (roiops/box_ops.py) and in C++ (api.cpp). A batch of
// images is a dimension in front.
#pragma once

#include "torch/mean_op.h"

namespace roiops {

inline constexpr int64_t kNoBox = -1;

// Overlaps are computed in double if one of the tensors that decide is, else in float.
inline bool any_double(const Tensor& a, const Tensor& b) {
  return a.scalar_type() == at::kDouble || b.scalar_type() == at::kDouble;
}

// Of boxes [(B,) N, columns] whose sizes are known.
inline int64_t image_count(const Tensor& boxes) {
  return boxes.dim() == 3 ? boxes.size(0) : 1;
}

struct NmsArgs {
  const char* op;
  Tensor boxes;   // [(B,) N, 4 or 5]
  Tensor scores;  // [(B,) N]
  SymInt max_output;
  Tensor idxs;  // [(B,) N], or undefined
  std::optional<double> score_threshold;
  bool clockwise;

  int64_t batch_dims() const {
    return boxes.dim() - 2;
  }
  // Whether a row is (cx, cy, w, h, angle).
  bool rotated() const {
    return boxes.sym_size(-1).expect_int() == 5;
  }
};

struct SoftNmsOptions {
  double iou_threshold, sigma, min_score;
  bool gaussian;
};

// Rows of rotated boxes, or of others, and whether they turn clockwise.
struct IouArgs {
  const char* op;
  Tensor boxes1, boxes2;  // [(B,) N, columns], [(B,) M, columns]
  bool rotated, clockwise;
};

using NmsPadded = std::tuple<Tensor, Tensor>(const Tensor& boxes, const Tensor& scores,
    double iou_threshold, SymInt max_output, const OptionalTensor& idxs,
    std::optional<double> score_threshold, bool clockwise);
using SoftNmsPadded = std::tuple<Tensor, Tensor, Tensor>(const Tensor& boxes, const Tensor& scores,
    SymInt max_output, double iou_threshold, double sigma, double min_score,
    std::string_view method, const OptionalTensor& idxs, bool clockwise);
using BoxIou = Tensor(const Tensor& boxes1, const Tensor& boxes2);
using BoxIouRotated = Tensor(const Tensor& boxes1, const Tensor& boxes2, bool clockwise);

const c10::TypedOperatorHandle<NmsPadded>& nms_padded_op();
const c10::TypedOperatorHandle<SoftNmsPadded>& soft_nms_padded_op();
const c10::TypedOperatorHandle<BoxIou>& box_iou_op();
const c10::TypedOperatorHandle<BoxIouRotated>& box_iou_rotated_op();

// Each checks a whole call and returns its results, uninitialised (check_nms.cpp).
std::tuple<Tensor, Tensor> prepare_nms(const NmsArgs& args, double iou_threshold);
std::tuple<Tensor, Tensor, Tensor> prepare_soft_nms(
    const NmsArgs& args, const SoftNmsOptions& options);
void check_iou(const IouArgs& args);
Tensor prepare_iou(const IouArgs& args);
bool is_gaussian(std::string_view method);

// A backend has static functions nms, soft_nms and iou on unpacked arguments.
template <typename Backend>
struct NmsKernels {
  static std::tuple<Tensor, Tensor> nms_padded(const Tensor& boxes, const Tensor& scores,
      double iou_threshold, SymInt max_output, const OptionalTensor& idxs,
      std::optional<double> score_threshold, bool clockwise) {
    return Backend::nms({"nms_padded", boxes, scores, std::move(max_output),
                            idxs.value_or(Tensor()), score_threshold, clockwise},
        iou_threshold);
  }
  static std::tuple<Tensor, Tensor, Tensor> soft_nms_padded(const Tensor& boxes,
      const Tensor& scores, SymInt max_output, double iou_threshold, double sigma, double min_score,
      std::string_view method, const OptionalTensor& idxs, bool clockwise) {
    return Backend::soft_nms({"soft_nms_padded", boxes, scores, std::move(max_output),
                                 idxs.value_or(Tensor()), std::nullopt, clockwise},
        {iou_threshold, sigma, min_score, is_gaussian(method)});
  }
  static Tensor box_iou(const Tensor& boxes1, const Tensor& boxes2) {
    return Backend::iou({"box_iou", boxes1, boxes2, false, false});
  }
  static Tensor box_iou_rotated(const Tensor& boxes1, const Tensor& boxes2, bool clockwise) {
    return Backend::iou({"box_iou_rotated", boxes1, boxes2, true, clockwise});
  }
};

template <typename Backend>
void register_nms_ops(torch::Library& m) {
  using Kernels = NmsKernels<Backend>;
  m.impl("nms_padded", &Kernels::nms_padded);
  m.impl("soft_nms_padded", &Kernels::soft_nms_padded);
  m.impl("box_iou", &Kernels::box_iou);
  m.impl("box_iou_rotated", &Kernels::box_iou_rotated);
}

}  // namespace roiops
