// What the kernels of operators that take a maximum share. Every thread finds its samples from the
// axes: they differ from channel to channel.
#pragma once

#include "core/winner.h"
#include "cuda/cells.h"
#include "cuda/context.h"
#include "cuda/roi_table.h"

namespace roiops::cuda {

template <typename Geometry>
struct MaxRoi {
  SeparableRoi<typename Geometry::Axis> axes;
  Roi roi;
};

// What all of these kernels are given.
template <typename Geometry>
struct MaxCall {
  using T = typename Geometry::Scalar;
  Geometry geometry;
  MapSize map;
  RoiTable<T> rois;

  C10_HOST_DEVICE MaxRoi<Geometry> read(int64_t number) const {
    const Roi roi = rois.read(number);
    return {geometry.decode(roi.row, map), roi};
  }
  C10_HOST_DEVICE int64_t bin(const Cell& cell) const {
    return int64_t{cell.p} * geometry.bins.width + cell.q;
  }
  // A RoI without an image has no winner.
  C10_HOST_DEVICE Winner<T> winner(
      const MaxRoi<Geometry>& roi, int32_t p, int32_t q, int32_t name) const {
    return winner_of<Geometry>(roi.axes, map, p, q, roi.roi.level < 0 ? -1 : name);
  }
};

// Calls body(cell, roi) for every bin of a block's piece and every group of channels.
template <typename Context, typename Geometry, typename Body>
C10_HOST_DEVICE void for_each_cell(Context& context, MaxRoi<Geometry>* shared,
    const MaxCall<Geometry>& call, const Split& split, int32_t width, int64_t channels,
    bool bins_fastest, Body&& body) {
  const int64_t groups = (channels + width - 1) / width;
  const Piece piece = piece_of(split, context.block, call.geometry.bins.height, groups);
  context.phase([&](int32_t thread) {
    if (thread == 0) {
      *shared = call.read(piece.roi);
    }
  });
  context.phase([&](int32_t thread) {
    const int64_t cells = int64_t{piece.rows} * call.geometry.bins.width * piece.groups;
    for (int64_t i = thread; i < cells; i += context.threads) {
      body(cell_of(piece, i, call.geometry.bins.width, width, bins_fastest), *shared);
    }
  });
}

}  // namespace roiops::cuda
