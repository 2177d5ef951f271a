// Boxes alone on the GPU: their fields (NOTE [IoU]), and the matrix of their overlaps.
#pragma once

#include "core/rotated_iou.h"
#include "cuda/context.h"

namespace roiops::cuda {

// Boxes of several images, as their users have them.
template <typename T>
struct BoxRows {
  const T* rows;         // [images, boxes, columns]
  const int64_t* order;  // [images, boxes]: which box comes at each place; null: as they are
  int64_t images, boxes;
  bool clockwise;
};

// fields[image, place] = the fields of a box. A thread has a box.
template <typename T, typename Kind>
struct PrepareBoxes {
  BoxRows<T> in;
  T* fields;  // [images, boxes, kFields]

  C10_HOST_DEVICE void share(Arena&, int32_t) const {}

  template <typename Context>
  C10_HOST_DEVICE void operator()(Context& context, Arena&) const {
    context.phase([&](int32_t thread) {
      const int64_t place = context.block * context.threads + thread;
      if (place < in.images * in.boxes) {
        const int64_t image = place / in.boxes;
        const int64_t box = in.order != nullptr ? image * in.boxes + in.order[place] : place;
        Kind::prepare(in.rows + box * Kind::kColumns, in.clockwise, fields + place * Kind::kFields);
      }
    });
  }
};

// A block's copy of some boxes.
template <typename T, typename Kind>
C10_HOST_DEVICE void copy_fields(
    const T* from, int64_t boxes, int32_t thread, int32_t threads, T* to) {
  for (int64_t i = thread; i < boxes * Kind::kFields; i += threads) {
    to[i] = from[i];
  }
}

// ious[image, i, j]. A block has kRows boxes of the first set and a box per thread of the second.
template <typename T, typename Kind>
struct IouMatrix {
  static constexpr int64_t kRows = 16;

  const T* first;   // [images, rows, kFields]
  const T* second;  // [images, columns, kFields]
  int64_t images, rows, columns;
  T* ious;  // [images, rows, columns]

  C10_HOST_DEVICE int64_t row_parts() const {
    return (rows + kRows - 1) / kRows;
  }
  C10_HOST_DEVICE int64_t column_parts(int32_t threads) const {
    return (columns + threads - 1) / threads;
  }
  int64_t blocks(int32_t threads) const {
    return images * row_parts() * column_parts(threads);
  }
  C10_HOST_DEVICE T* share(Arena& arena, int32_t) const {
    return arena.take<T>(kRows * Kind::kFields);
  }

  template <typename Context>
  C10_HOST_DEVICE void operator()(Context& context, Arena& arena) const {
    T* const shared = share(arena, context.threads);
    const int64_t parts = column_parts(context.threads);
    const int64_t part = context.block / parts, image = part / row_parts();
    const int64_t row = part % row_parts() * kRows;
    const int64_t count = rows - row < kRows ? rows - row : kRows;
    context.phase([&](int32_t thread) {
      copy_fields<T, Kind>(
          first + (image * rows + row) * Kind::kFields, count, thread, context.threads, shared);
    });
    context.phase([&](int32_t thread) {
      const int64_t column = context.block % parts * context.threads + thread;
      if (column >= columns) {
        return;
      }
      T box[Kind::kFields];
      copy_fields<T, Kind>(second + (image * columns + column) * Kind::kFields, 1, 0, 1, box);
      for (int64_t i = 0; i < count; ++i) {
        ious[(image * rows + row + i) * columns + column] =
            Kind::iou(shared + i * Kind::kFields, box);
      }
    });
  }
};

}  // namespace roiops::cuda
