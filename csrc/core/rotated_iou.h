// Overlap of rotated boxes (cx, cy, w, h, angle in radians), turned as those of core/rotated.h.
//
// NOTE [Rotated IoU]
// One box is seen from the other, whose corners then are (+-w/2, +-h/2): differences of centres are
// exact where boxes overlap, and nothing depends on where on the image they lie. The area of the
// part of a convex polygon inside that rectangle is the integral, along the polygon's edges, of y
// clamped to the rectangle, over the x inside it. Four edges, two divisions each, no list of
// corners and no special case: edges that touch or coincide, and corners on edges, add what they
// should.
#pragma once

#include <cmath>

#include "core/corner_iou.h"

namespace roiops {

struct RotatedBoxes {
  static constexpr int32_t kColumns = 5;
  static constexpr int32_t kFields = 8;
  // Half sides; the radius reaches beyond every corner.
  enum { kX, kY, kWidth, kHeight, kCosine, kSine, kArea, kRadius };

  // A side of zero or less has no length. A box that is not finite has an area of NaN.
  template <typename T>
  C10_HOST_DEVICE static void prepare(const T* row, bool clockwise, T* box) {
    const T angle = clockwise ? -row[4] : row[4];
    const T width = row[2] > T(0) ? row[2] : T(0), height = row[3] > T(0) ? row[3] : T(0);
    T sum = T(0);
    for (int32_t i = 0; i < kColumns; ++i) {
      sum += row[i] * T(0);  // NaN unless all are finite
    }
    box[kX] = row[0];
    box[kY] = row[1];
    box[kWidth] = width / T(2);
    box[kHeight] = height / T(2);
    box[kCosine] = std::cos(angle);
    box[kSine] = std::sin(angle);
    box[kArea] = width * height + sum;
    box[kRadius] = (box[kWidth] + box[kHeight]) * T(1.0001);
  }

  ROIOPS_PAIR static V intersection(const V* a, const V* b) {
    const V dx = b[kX] - a[kX], dy = b[kY] - a[kY];
    const V x = dx * a[kCosine] - dy * a[kSine], y = dx * a[kSine] + dy * a[kCosine];
    const V cosine = b[kCosine] * a[kCosine] + b[kSine] * a[kSine];
    const V sine = b[kSine] * a[kCosine] - b[kCosine] * a[kSine];
    const V across_x = b[kWidth] * cosine, across_y = -b[kWidth] * sine;
    const V down_x = b[kHeight] * sine, down_y = b[kHeight] * cosine;
    const V xs[] = {
        x - across_x - down_x, x + across_x - down_x, x + across_x + down_x, x - across_x + down_x};
    const V ys[] = {
        y - across_y - down_y, y + across_y - down_y, y + across_y + down_y, y - across_y + down_y};
    V twice = V{};
    for (int32_t i = 0; i < 4; ++i) {
      const int32_t next = (i + 1) % 4;
      twice = twice - twice_below(xs[i], ys[i], xs[next], ys[next], a[kWidth], a[kHeight]);
    }
    // Rounding must not make an overlap that is larger than a box, or one of none: the integral of
    // boxes that are apart cancels, but for rounding. It is NaN where an area is beyond the range.
    const V most = smaller(a[kArea], b[kArea]);
    const V area = twice / (V{} + 2);
    const V inside = area > V{} ? smaller(most, area) : V{};
    return are_apart(dx, dy, x, y, cosine, sine, a, b) ? V{} : inside;
  }

  ROIOPS_PAIR static V iou(const V* a, const V* b) {
    return ratio_of(intersection(a, b), a[kArea] + b[kArea]);
  }

  // IoU is at most the ratio of the areas, and 0 for boxes that are far from each other.
  template <typename V, typename T>
  C10_HOST_DEVICE C10_ALWAYS_INLINE static auto is_below(
      const V* a, const V* b, const Doubt<T>& doubt) {
    const V dx = b[kX] - a[kX], dy = b[kY] - a[kY], reach = a[kRadius] + b[kRadius];
    const V small = smaller(a[kArea], b[kArea]), large = larger(a[kArea], b[kArea]);
    return (dx * dx + dy * dy > reach * reach) | (small <= large * doubt.threshold - doubt.area);
  }

 private:
  // Whether a side of one box has the other one behind it. (x, y) is b's centre, and cosine and
  // sine turn b's axes, as seen from a.
  ROIOPS_PAIR static auto are_apart(const V& dx, const V& dy, const V& x, const V& y,
      const V& cosine, const V& sine, const V* a, const V* b) {
    const V c = larger<V>(cosine, -cosine), s = larger<V>(sine, -sine);
    const V reach = a[kRadius] + b[kRadius];  // where turning would overflow
    return is_beyond(dx, reach) | is_beyond(dy, reach) |
           is_beyond(x, a[kWidth] + b[kWidth] * c + b[kHeight] * s) |
           is_beyond(y, a[kHeight] + b[kWidth] * s + b[kHeight] * c) |
           is_beyond<V>(x * cosine - y * sine, b[kWidth] + a[kWidth] * c + a[kHeight] * s) |
           is_beyond<V>(x * sine + y * cosine, b[kHeight] + a[kWidth] * s + a[kHeight] * c);
  }

  ROIOPS_PAIR static auto is_beyond(const V& place, const V& reach) {
    return (place >= reach) | (-place >= reach);
  }

  // Twice the integral of y, clamped to the height, along an edge, where x is within the width.
  ROIOPS_PAIR static V twice_below(
      const V& x0, const V& y0, const V& x1, const V& y1, const V& width, const V& height) {
    const V one = V{} + 1;
    const V left = between<V>(-width, x0, width), right = between<V>(-width, x1, width);
    const V run = x1 - x0;
    const V most = V{} + 3e38F;  // no infinity, which times a distance of 0 would be NaN
    const V slope = between<V>(-most, (y1 - y0) / (run == V{} ? one : run), most);
    // Each end from its own corner, which is exact where nothing is cut off; and on the edge, also
    // where the slope is too steep for a number.
    const V low = smaller(y0, y1), high = larger(y0, y1);
    const V from = between<V>(low, y0 + (left - x0) * slope, high);
    const V to = between<V>(low, y1 + (right - x1) * slope, high);
    const V start = between<V>(-height, from, height), end = between<V>(-height, to, height);
    // How much of the way y is clamped before it enters the height, and after it has left it.
    const V rise = to - from;
    const V way = rise == V{} ? one : rise;
    const V before = between<V>(V{}, (start - from) / way, one);
    const V after = between<V>(V{}, (to - end) / way, one);
    const V twice_mean =
        (start + start) * before + (end + end) * after + (start + end) * (one - before - after);
    return (right - left) * twice_mean;
  }
};

}  // namespace roiops
