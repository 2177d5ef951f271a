// Overlap of axis-aligned boxes (x1, y1, x2, y2).
//
// NOTE [IoU]
// A kind of box has kColumns numbers for its users and kFields for pairs of boxes, which are
// computed once per box. Functions on pairs take fields as scalars or as vectors of a CPU, hence
// V{} for zero and the choices instead of branches. IoU is intersection / union in the type of the
// boxes, in torchvision's order of operations and without contraction, so that a decision
// "IoU > threshold" has torchvision's bits. Boxes without a union (both without area, or reversed)
// have an IoU of 0; a NaN coordinate gives NaN; where a side, an area or the sum of two areas is
// not finite it is 0 or NaN. No threshold is below either: such a box neither suppresses nor is
// suppressed.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include <c10/macros/Macros.h>

// Always inlined: a copy that is compiled for one instruction set may be called from another's
// code.
#define ROIOPS_PAIR     \
  template <typename V> \
  C10_HOST_DEVICE C10_ALWAYS_INLINE

namespace roiops {

// As std::max and std::min: the first one if either is NaN.
ROIOPS_PAIR V larger(const V& a, const V& b) {
  return a < b ? b : a;
}
ROIOPS_PAIR V smaller(const V& a, const V& b) {
  return b < a ? b : a;
}
// NaN stays.
ROIOPS_PAIR V between(const V& low, const V& value, const V& high) {
  return smaller(larger(value, low), high);
}

ROIOPS_PAIR V ratio_of(const V& intersection, const V& area_sum) {
  const V whole = area_sum - intersection;
  return whole <= V{} ? V{} : intersection / whole;
}

// IoUs in T are compared with a double: the largest T that is not above it decides alike.
template <typename T>
T threshold_in(double threshold) {
  const T near = static_cast<T>(threshold);
  return near > threshold ? std::nextafter(near, T(-1)) : near;
}

// A threshold so much smaller that rounding cannot carry an IoU from below it above the real one;
// and an area below which rounding is no longer relative.
template <typename T>
struct Doubt {
  T threshold;
  T area;
};

template <typename T>
C10_HOST_DEVICE Doubt<T> doubt_of(T threshold) {
  constexpr bool kDouble = std::is_same_v<T, double>;
  return {threshold * (T(1) - T(kDouble ? 1e-13 : 1e-5)), T(kDouble ? 1e-290 : 1e-30)};
}

struct CornerBoxes {
  static constexpr int32_t kColumns = 4;
  static constexpr int32_t kFields = 5;
  enum { kX1, kY1, kX2, kY2, kArea };

  template <typename T>
  C10_HOST_DEVICE static void prepare(const T* row, bool /*clockwise*/, T* box) {
    for (int32_t i = 0; i < kColumns; ++i) {
      box[i] = row[i];
    }
    box[kArea] = (row[2] - row[0]) * (row[3] - row[1]);
  }

  ROIOPS_PAIR static V intersection(const V* a, const V* b) {
    const V width = smaller(a[kX2], b[kX2]) - larger(a[kX1], b[kX1]);
    const V height = smaller(a[kY2], b[kY2]) - larger(a[kY1], b[kY1]);
    return larger(V{}, width) * larger(V{}, height);
  }

  ROIOPS_PAIR static V iou(const V* a, const V* b) {
    return ratio_of(intersection(a, b), a[kArea] + b[kArea]);
  }

  // Whether the IoU is surely not above a threshold, without a division.
  template <typename V, typename T>
  C10_HOST_DEVICE C10_ALWAYS_INLINE static auto is_below(
      const V* a, const V* b, const Doubt<T>& doubt) {
    const V inner = intersection(a, b);
    return inner <= (a[kArea] + b[kArea] - inner) * doubt.threshold - doubt.area;
  }
};

}  // namespace roiops
