// Boxes as the IoU engine reads them.
#pragma once

#include <algorithm>
#include <limits>

#include "cpu/iou_engine.h"
#include "cpu/nms.h"

namespace roiops::cpu {

template <typename T>
const IouEngine<T>& engine_of(BoxKind kind) {
  return kind.rotated ? iou_engines<T>().rotated : iou_engines<T>().corner;
}

template <typename T>
void prepare_box(const T* row, BoxKind kind, T* box) {
  kind.rotated ? RotatedBoxes::prepare(row, kind.clockwise, box)
               : CornerBoxes::prepare(row, kind.clockwise, box);
}

// At least one of any kind.
inline constexpr int32_t kMaxFields = std::max(CornerBoxes::kFields, RotatedBoxes::kFields);

template <typename T>
constexpr int64_t groups_of(int64_t boxes) {
  return (boxes + kLanes<T> - 1) / kLanes<T>;
}

// Fields of a box that overlaps none, and is seen to do so at the first look.
template <typename T>
void prepare_no_box(BoxKind kind, T* box) {
  constexpr T kFar = std::numeric_limits<T>::infinity();
  std::fill_n(box, kMaxFields, T(0));
  if (kind.rotated) {
    box[RotatedBoxes::kX] = kFar;
  } else {
    box[CornerBoxes::kX1] = kFar;
    box[CornerBoxes::kX2] = -kFar;
  }
}

// Boxes of one kind in groups, one after the other.
template <typename T>
struct Groups {
  int32_t fields;
  T none[kMaxFields];
  T* data;

  Groups(BoxKind kind, T* data) : fields(engine_of<T>(kind).fields), data(data) {
    prepare_no_box(kind, none);
  }

  // The first box of a group fills the rest of it with boxes that overlap none.
  void put(const T* box, int64_t place) const {
    const int64_t lane = place % kLanes<T>;
    T* const group = data + place / kLanes<T> * fields * kLanes<T>;
    for (int32_t field = 0; field < fields; ++field) {
      T* const to = group + field * kLanes<T>;
      if (lane == 0) {
        std::fill_n(to, kLanes<T>, none[field]);
      }
      to[lane] = box[field];
    }
  }
};

}  // namespace roiops::cpu
