// The RoIs of a call, as the tap listers read them.
//
// NOTE [Listers]
// A lister knows one op family's geometry and lists the taps of one RoI at a time, by rows of bins:
//   grid()                   the rows and columns of every RoI's bins
//   prepare(roi)             then, for that RoI:
//   size(p)                  at least the number of taps in row p of its bins
//   visit(p, tap, end_bin)   calls tap(pixel, t) for each of them, bin by bin, and end_bin() behind
//                            each bin
// where t.weight(), t.tangent(box, extra) and t.add_gradient(product, box, extra) are the tap's
// weight, its derivative along a tangent, and its share of a gradient. `box` has kBoxColumns
// numbers; `extra` has extra_size() ones, for an op that has a second tensor of parameters.
#pragma once

#include <cstdint>
#include <vector>

namespace roiops::cpu {

struct Roi {
  const double* row;  // (image, box columns)
  int64_t number;     // the caller's
  int32_t level;      // of the feature pyramid; -1: none, the RoI has no taps
};

// Image numbers and levels have been checked.
struct RoiList {
  const double* rows;
  int64_t columns;
  std::vector<int64_t> image;  // [count]
  std::vector<int32_t> level;  // [count]

  int64_t count() const {
    return static_cast<int64_t>(image.size());
  }
  Roi operator[](int64_t number) const {
    return {rows + number * columns, number, level[number]};
  }
};

}  // namespace roiops::cpu
