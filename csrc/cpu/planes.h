// The product of two axes applied to planes: rows first, in vectors along a row, then columns.
// Every pixel is read once per row of bins, and nothing is packed. Included as vec.h is.

// The columns that vectors cover: the RoI's, and more of the row where that fills the last vector.
struct Columns {
  int64_t first, count;
};

template <typename T>
Columns columns_of(const RoiAxes<T>& roi) {
  const int64_t count = roi.x.first < roi.x.end ? roi.x.end - roi.x.first : 0;
  const int64_t whole = (count + kWidth<T> - 1) / kWidth<T> * kWidth<T>;
  if (whole > roi.width) {
    return {roi.x.first, count};
  }
  return {roi.x.first < roi.width - whole ? roi.x.first : roi.width - whole, whole};
}

// sums[i] = sum over the taps, which are rows, of weight * plane[row * width + i]
template <typename S, typename T>
void sum_rows(const BinTaps<T>& rows, const S* plane, int64_t width, int64_t count, T* sums) {
  const auto vectors = [&]<int32_t kCount>(int64_t i) {
    Sums<kCount, T> sum;
    sum_bin(rows, plane + i, width, 0, sum);
    sum.store_to(sums + i);
  };
  constexpr int32_t kMany = 4;
  int64_t i = 0;
  for (; i + kMany * kWidth<T> <= count; i += kMany * kWidth<T>) {
    vectors.template operator()<kMany>(i);
  }
  for (; i + kWidth<T> <= count; i += kWidth<T>) {
    vectors.template operator()<1>(i);
  }
  for (; i < count; ++i) {
    StridedSums<1, T> sum{1};
    sum_bin(rows, plane + i, width, 0, sum);
    sums[i] = sum.at[0];
  }
}

// row[i] += weight * values[i]
template <typename T>
void add_row(T weight, const T* values, int64_t count, T* row) {
  int64_t i = 0;
  for (; i + kWidth<T> <= count; i += kWidth<T>) {
    store<T>(row + i, load<T>(row + i) + weight * load<T>(values + i));
  }
  for (; i < count; ++i) {
    row[i] = multiply_add(weight, values[i], row[i]);
  }
}

template <typename S, typename T>
void gather_plane(const RoiAxes<T>& roi, const S* plane, S* out, int64_t item_stride, T* row) {
  const Columns columns = columns_of(roi);
  for (int64_t p = 0; p < roi.y.bins; ++p) {
    const bool empty = roi.y.is_empty(p);
    if (!empty) {
      sum_rows(roi.y.bin(p), plane + columns.first, roi.width, columns.count, row);
    }
    for (int64_t q = 0; q < roi.x.bins; ++q, out += item_stride) {
      StridedSums<1, T> sum{1};
      if (!empty) {
        sum_bin(roi.x.bin(q), row, 1, columns.first, sum);
      }
      *out = static_cast<S>(sum.at[0]);
    }
  }
}

template <typename S, typename T>
void scatter_plane(const RoiAxes<T>& roi, const S* grad, int64_t item_stride, T* plane,
    int64_t first, int64_t end, T* row) {
  const Columns columns = columns_of(roi);
  for (int64_t p = 0; p < roi.y.bins; ++p, grad += roi.x.bins * item_stride) {
    bool listed = false;
    for_each_tap(roi.y.bin(p), first / roi.width, end / roi.width, [&](int64_t y, T weight) {
      if (!listed) {
        for (int64_t i = 0; i < columns.count; ++i) {
          row[i] = T(0);
        }
        for (int64_t q = 0; q < roi.x.bins; ++q) {
          const T value = static_cast<T>(grad[q * item_stride]);
          for_each_tap(roi.x.bin(q), 0, roi.width, [&](int64_t x, T by) {
            T& sum = row[x - columns.first];
            sum = multiply_add(by, value, sum);
          });
        }
        listed = true;
      }
      add_row(weight, row, columns.count, plane + y * roi.width - first + columns.first);
    });
  }
}

template <typename S, typename T = Accumulator<S>>
void gather_planes(const RoiAxes<T>& roi, const Block<const S>& in, const Block<S>& out, T* row) {
  for (int64_t lane = 0; lane < out.lanes; ++lane) {
    gather_plane(roi, in.data + lane * in.lane_stride, out.data + lane * out.lane_stride,
        out.item_stride, row);
  }
}

// Pixels [first, end) are whole rows.
template <typename S, typename T = Accumulator<S>>
void scatter_planes(const RoiAxes<T>& roi, const Block<const S>& grad, const Block<T>& in,
    int64_t first, int64_t end, T* row) {
  for (int64_t lane = 0; lane < grad.lanes; ++lane) {
    scatter_plane(roi, grad.data + lane * grad.lane_stride, grad.item_stride,
        in.data + lane * in.lane_stride, first, end, row);
  }
}

template <typename S, typename T = Accumulator<S>>
void narrow(const T* sums, int64_t count, S* out) {
  int64_t i = 0;
  for (; i + kWidth<T> <= count; i += kWidth<T>) {
    store<T>(out + i, load<T>(sums + i));
  }
  for (; i < count; ++i) {
    out[i] = static_cast<S>(sums[i]);
  }
}
