// Between panels, [items, kLanes], and the memory of features and results, in which either the
// items of a lane or the lanes of an item are neighbours. Included as vec.h is.

// Vectors of a panel's pixel.
template <typename T>
constexpr int32_t kPanelVectors = kLanes<T> / kWidth<T>;

// [items, kLanes] -> item-contiguous lanes. Items are neighbours in memory: in vectors by blocks of
// kWidth x kWidth, the last of which overlaps; else, or if they are few, one by one.
template <typename T, typename S>
void to_planes(const T* panel, int64_t items, const Block<S>& out) {
  if (out.item_stride != 1 || items < kWidth<T>) {
    for (int64_t lane = 0; lane < out.lanes; ++lane) {
      for (int64_t item = 0; item < items; ++item) {
        out.data[lane * out.lane_stride + item * out.item_stride] =
            static_cast<S>(panel[item * kLanes<T> + lane]);
      }
    }
    return;
  }
  for (int64_t next = 0; next < items; next += kWidth<T>) {
    const int64_t item = next + kWidth<T> <= items ? next : items - kWidth<T>;
    for (int64_t lane = 0; lane < out.lanes; lane += kWidth<T>) {
      Vector<T> rows[kWidth<T>];
#pragma GCC unroll 16
      for (int32_t i = 0; i < kWidth<T>; ++i) {
        rows[i] = load<T>(panel + (item + i) * kLanes<T> + lane);
      }
      transpose<T>(rows);
      S* const to = out.data + lane * out.lane_stride + item;
      const auto store_rows = [&](int64_t count) {
#pragma GCC unroll 16
        for (int32_t i = 0; i < kWidth<T>; ++i) {
          if (i < count) {
            store<T>(to + i * out.lane_stride, rows[i]);
          }
        }
      };
      if (lane + kWidth<T> <= out.lanes) {
        store_rows(kWidth<T>);
      } else {
        store_rows(out.lanes - lane);
      }
    }
  }
}

// The reverse; lanes that do not exist are zero.
template <typename T, typename S>
void from_planes(const Block<const S>& in, int64_t items, T* panel) {
  if (in.item_stride != 1 || items < kWidth<T>) {
    for (int64_t item = 0; item < items; ++item) {
      for (int64_t lane = 0; lane < kLanes<T>; ++lane) {
        panel[item * kLanes<T> + lane] =
            lane < in.lanes ? static_cast<T>(in.data[lane * in.lane_stride + item * in.item_stride])
                            : T(0);
      }
    }
    return;
  }
  for (int64_t next = 0; next < items; next += kWidth<T>) {
    const int64_t item = next + kWidth<T> <= items ? next : items - kWidth<T>;
    for (int64_t lane = 0; lane < kLanes<T>; lane += kWidth<T>) {
      Vector<T> rows[kWidth<T>];
      const S* const from = in.data + lane * in.lane_stride + item;
      const auto load_rows = [&](int64_t count) {
#pragma GCC unroll 16
        for (int32_t i = 0; i < kWidth<T>; ++i) {
          rows[i] = i < count ? load<T>(from + i * in.lane_stride) : Vector<T>{};
        }
      };
      if (lane + kWidth<T> <= in.lanes) {
        load_rows(kWidth<T>);
      } else {
        load_rows(in.lanes - lane);
      }
      transpose<T>(rows);
#pragma GCC unroll 16
      for (int32_t i = 0; i < kWidth<T>; ++i) {
        store<T>(panel + (item + i) * kLanes<T> + lane, rows[i]);
      }
    }
  }
}

// The same where lanes are neighbours in memory.
template <typename T, typename S>
void to_rows(const T* panel, int64_t items, const Block<S>& out) {
  for (int64_t item = 0; item < items; ++item) {
    const T* const from = panel + item * kLanes<T>;
    S* const at = out.data + item * out.item_stride;
    int64_t lane = 0;
    for (; lane + kWidth<T> <= out.lanes; lane += kWidth<T>) {
      store<T>(at + lane, load<T>(from + lane));
    }
    for (; lane < out.lanes; ++lane) {
      at[lane] = static_cast<S>(from[lane]);
    }
  }
}

template <typename T, typename S>
void from_rows(const Block<const S>& in, int64_t items, T* panel) {
  for (int64_t item = 0; item < items; ++item) {
    const S* const at = in.data + item * in.item_stride;
    T* const to = panel + item * kLanes<T>;
    int64_t lane = 0;
    for (; lane + kWidth<T> <= in.lanes; lane += kWidth<T>) {
      store<T>(to + lane, load<T>(at + lane));
    }
    for (; lane < kLanes<T>; ++lane) {
      to[lane] = lane < in.lanes ? static_cast<T>(at[lane]) : T(0);
    }
  }
}

template <typename S>
void pack(const Block<const S>& in, int64_t pixels, Accumulator<S>* panel) {
  in.lane_stride == 1 ? from_rows(in, pixels, panel) : from_planes(in, pixels, panel);
}

template <typename S>
void unpack(const Accumulator<S>* panel, int64_t pixels, const Block<S>& out) {
  out.lane_stride == 1 ? to_rows(panel, pixels, out) : to_planes(panel, pixels, out);
}

// Bins that are staged, pixel by pixel as in a panel, on the way to or from planes.
constexpr int64_t kStaged = 64;

// Block of `count` bins from `first` on.
template <typename S>
Block<S> bins_of(const Block<S>& block, int64_t first) {
  return {
      block.data + first * block.item_stride, block.item_stride, block.lane_stride, block.lanes};
}
