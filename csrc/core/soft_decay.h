// How a kept box lowers the scores of the others (Soft-NMS, Bodla et al., arXiv:1704.04503).
#pragma once

#include <cmath>

#include <c10/macros/Macros.h>

namespace roiops {

template <typename T>
struct SoftDecay {
  bool gaussian;
  T iou_threshold;  // of the linear rule
  T sigma;          // of the gaussian one

  // NaN and 0 leave the score as it is.
  C10_HOST_DEVICE T operator()(T score, T iou) const {
    if (!(iou > T(0)) || (!gaussian && iou < iou_threshold)) {
      return score;
    }
    const T factor = gaussian ? T(std::exp(-(iou * iou) / sigma)) : T(1) - iou;
    return factor > T(0) || score != score ? score * factor : T(0);  // of infinity too
  }
};

}  // namespace roiops
