// Boxes as the CPU engine reads them.
#pragma once

#include "cpu/rois.h"
#include "torch/mean_op.h"

namespace roiops {

struct Boxes {
  Tensor rows;    // [K, columns] double, which holds every box dtype exactly; owns list.rows
  Tensor offset;  // of deform_roi_pool, double and contiguous; else undefined
  cpu::RoiList list;
};

// Reads the boxes of a checked call. Raises IndexError for one that names no image. Levels of a
// feature pyramid are chosen in the geometry's type, which is that of the features.
Boxes read_boxes(const RoiArgs& args, int64_t images, at::ScalarType features);

// Boxes, or their tangents, as rows (image, x1, y1, x2, y2) for any operator's format; without
// image numbers where the operator has them elsewhere. And back, for gradients.
Tensor to_rows(const RoiCall& call, const Tensor& boxes);
Tensor from_rows(const RoiCall& call, const Tensor& rows);

}  // namespace roiops
