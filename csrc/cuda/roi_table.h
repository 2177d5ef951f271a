// The RoIs of a call as kernels read them: straight from the caller's tensors, of any dtype.
#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include "core/levels.h"

namespace roiops::cuda {

enum class NumberType : int32_t { kDouble, kFloat, kHalf, kBFloat16, kInt, kLong };

// A matrix, or a column, of any of these types.
struct Table {
  const void* data;
  NumberType type;
  int64_t row_stride, column_stride;

  // double holds all of them exactly but the largest int64, which name no image.
  C10_HOST_DEVICE double at(int64_t row, int64_t column) const {
    const int64_t i = row * row_stride + column * column_stride;
    switch (type) {
      case NumberType::kDouble:
        return static_cast<const double*>(data)[i];
      case NumberType::kFloat:
        return static_cast<const float*>(data)[i];
      case NumberType::kHalf:
        return static_cast<float>(static_cast<const c10::Half*>(data)[i]);
      case NumberType::kBFloat16:
        return static_cast<float>(static_cast<const c10::BFloat16*>(data)[i]);
      case NumberType::kInt:
        return static_cast<const int32_t*>(data)[i];
      default:
        return static_cast<double>(static_cast<const int64_t*>(data)[i]);
    }
  }
};

inline constexpr int32_t kMostColumns = 5;

struct Roi {
  double row[1 + kMostColumns];  // (image, box columns), as the geometries take it
  int64_t number;
  int64_t image;
  int32_t level;  // of the feature pyramid; -1: none, the RoI has no taps
};

template <typename T>
struct RoiTable {
  Table boxes;
  Table indices;  // of crop_and_resize, whose boxes are (y1, x1, y2, x2) without images; or no data
  int32_t box_columns;
  int64_t count, images;
  bool pyramid;
  int32_t wanted_level;  // the only one that this call reads, as map 0; -1: all
  LevelRule<T> rule;

  C10_HOST_DEVICE bool is_crop() const {
    return indices.data != nullptr;
  }
  // Where column i of a box, in the order of Roi::row, lies in the caller's tensor.
  C10_HOST_DEVICE int32_t column(int32_t i) const {
    return is_crop() ? i ^ 1 : i + 1;
  }
  template <typename Number>
  C10_HOST_DEVICE void read_box(const Table& table, int64_t number, Number* box) const {
    for (int32_t i = 0; i < kMostColumns; ++i) {  // unrolled: box stays in registers
      if (i < box_columns) {
        box[i] = static_cast<Number>(table.at(number, column(i)));
      }
    }
  }

  // A RoI that names no image stops the program, as an index out of range does in PyTorch.
  C10_HOST_DEVICE Roi read(int64_t number) const {
    Roi roi{{}, number, 0, 0};
    read_box(boxes, number, roi.row + 1);
    const double image = is_crop() ? indices.at(number, 0) : boxes.at(number, 0);
    const bool named = image > -1 && image < static_cast<double>(images);
    CUDA_KERNEL_ASSERT(named && "roiops: boxes must name images in [0, N)");
    roi.image = named ? static_cast<int64_t>(image) : 0;
    if (pyramid) {
      const int32_t level =
          level_of(rule, T(roi.row[1]), T(roi.row[2]), T(roi.row[3]), T(roi.row[4]));
      roi.level = wanted_level < 0 ? level : (level == wanted_level ? 0 : -1);
    }
    roi.level = named ? roi.level : -1;
    return roi;
  }
};

}  // namespace roiops::cuda
