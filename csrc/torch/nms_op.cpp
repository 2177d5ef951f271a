#include "torch/nms_op.h"

namespace roiops {

const c10::TypedOperatorHandle<NmsPadded>& nms_padded_op() {
  static const auto op = find_op<NmsPadded>("nms_padded");
  return op;
}

const c10::TypedOperatorHandle<SoftNmsPadded>& soft_nms_padded_op() {
  static const auto op = find_op<SoftNmsPadded>("soft_nms_padded");
  return op;
}

const c10::TypedOperatorHandle<BoxIou>& box_iou_op() {
  static const auto op = find_op<BoxIou>("box_iou");
  return op;
}

const c10::TypedOperatorHandle<BoxIouRotated>& box_iou_rotated_op() {
  static const auto op = find_op<BoxIouRotated>("box_iou_rotated");
  return op;
}

}  // namespace roiops
