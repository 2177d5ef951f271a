// Overlaps of one box with many, compiled for each instruction set: see NOTE [Engine] and NOTE
// [IoU].
//
// Many boxes lie in groups of kLanes, field after field: field f of box i is
// groups[(i / kLanes * fields + f) * kLanes + i % kLanes].
#pragma once

#include "core/rotated_iou.h"
#include "cpu/types.h"

namespace roiops::cpu {

// One kind of box.
template <typename T>
struct IouEngine {
  int32_t fields;
  // Whether an IoU of the box with one of groups [begin, end) is above the threshold.
  bool (*any_above)(
      const T* box, const T* groups, int64_t begin, int64_t end, T threshold, Doubt<T> doubt);
  // The IoUs with all boxes of groups [begin, end): kLanes each.
  void (*row)(const T* box, const T* groups, int64_t begin, int64_t end, T* ious);
};

template <typename T>
struct IouEngines {
  IouEngine<T> corner, rotated;
};

template <typename T>
const IouEngines<T>& iou_engines();

}  // namespace roiops::cpu
