// The largest of a bin's samples, see NOTE [Winners]. Included as vec.h is, after bin_samples.h.

template <typename T>
constexpr T kLowest = -static_cast<T>(__builtin_inf());

// The largest of one bin's samples, for kCount vectors of neighbouring channels.
template <typename T, int32_t kCount>
struct Best {
  Vector<T> value[kCount];
  Numbers<T> name[kCount];

  explicit Best(const BinSamples<T>& bin) {
    const bool empty = bin.count() == 0;
#pragma GCC unroll 16
    for (int32_t i = 0; i < kCount; ++i) {
      value[i] = Vector<T>{} + (empty ? T(0) : kLowest<T>);
      name[i] = Numbers<T>{} + (empty ? -1 : bin.first_name());
    }
  }
  // NaN beats everything but NaN.
  void challenge(int32_t i, const Vector<T>& other, const Numbers<T>& number) {
    const auto wins = ~(other <= value[i]) & (value[i] == value[i]);
    value[i] = wins ? other : value[i];
    name[i] = wins ? number : name[i];
  }
};

// The same for one channel.
template <typename T>
struct BestOfLane {
  T value;
  int32_t name;

  static BestOfLane before(const BinSamples<T>& bin) {
    return bin.count() > 0 ? BestOfLane{kLowest<T>, bin.first_name()} : BestOfLane{T(0), -1};
  }
  void challenge(T other, int32_t number) {
    if (!(other <= value) && value == value) {
      value = other;
      name = number;
    }
  }
  // Of numbers that are not in order.
  void challenge_any(T other, int32_t number) {
    const bool earlier = number < name && (other == value || (other != other && value != value));
    if (earlier) {
      *this = {other, number};  // a zero of the other sign, another NaN
    } else {
      challenge(other, number);
    }
  }
};

// Features, and how far apart blocks of kLanes channels are: panels are apart, the channels of a
// map are not.
template <typename In>
struct Lanes {
  const In* data;
  int64_t item_stride, block_stride;
  int64_t first_item;

  template <typename T>
  Vector<T> load_at(int64_t item, int32_t v) const {
    constexpr int32_t kPerBlock = kLanes<T> / kWidth<T>;
    return load<T>(data + (item - first_item) * item_stride + v / kPerBlock * block_stride +
                   v % kPerBlock * kWidth<T>);
  }
};

// A rectangle of pixels.
template <int32_t kCount, typename T, typename In>
[[gnu::always_inline]] inline void find_best_pixel(
    const BinSamples<T>& bin, const Lanes<In>& in, Best<T, kCount>& best) {
  for (int64_t i = 0; i < bin.rows && bin.columns > 0; ++i) {
    const int32_t first = bin.pixel(i, 0);
    for (int32_t pixel = first; pixel < first + bin.columns; ++pixel) {
#pragma GCC unroll 16
      for (int32_t v = 0; v < kCount; ++v) {
        best.challenge(v, in.template load_at<T>(pixel, v), Numbers<T>{} + pixel);
      }
    }
  }
}

// The same of one channel, in vectors along its rows: neighbouring pixels, kWidth in a row at
// least. The last vector of a row overlaps.
template <typename T, typename In>
void find_best_in_rows(const BinSamples<T>& bin, const In* plane, BestOfLane<T>& best) {
  Numbers<T> number;
  for (int32_t v = 0; v < kWidth<T>; ++v) {
    number[v] = v;
  }
  Best<T, 1> wide(bin);
  for (int64_t i = 0; i < bin.rows; ++i) {
    const int32_t first = bin.pixel(i, 0), last = bin.columns - kWidth<T>;
    for (int32_t next = 0; next < bin.columns; next += kWidth<T>) {
      const int32_t pixel = first + (next < last ? next : last);
      wide.challenge(0, load<T>(plane + pixel), number + pixel);
    }
  }
  for (int32_t v = 0; v < kWidth<T>; ++v) {
    best.challenge_any(wide.value[0][v], static_cast<int32_t>(wide.name[0][v]));
  }
}

// At any stride. No branch, which few pixels would mispredict; a NaN is noticed, and looked for
// again.
template <typename T, typename In>
void find_best_pixel(
    const BinSamples<T>& bin, const In* plane, int64_t item_stride, BestOfLane<T>& best) {
  const auto for_each_pixel = [&](auto&& body) {
    for (int64_t i = 0; i < bin.rows && bin.columns > 0; ++i) {
      const int32_t first = bin.pixel(i, 0);
      const In* const row = plane + first * item_stride;
      for (int32_t j = 0; j < bin.columns; ++j) {
        body(static_cast<T>(row[j * item_stride]), first + j);
      }
    }
  };
  BestOfLane<T> largest = best;
  int32_t nans = 0;
  for_each_pixel([&](T value, int32_t name) {
    const bool wins = value > largest.value;
    largest = {wins ? value : largest.value, wins ? name : largest.name};
    nans |= value != value;
  });
  if (nans == 0) {
    best = largest;
  } else {
    for_each_pixel([&](T value, int32_t name) { best.challenge(value, name); });
  }
}

template <int32_t kCount, typename T, typename In>
[[gnu::always_inline]] inline void find_best_sample(
    const BinSamples<T>& bin, const Lanes<In>& in, Best<T, kCount>& best) {
  for_each_sample(bin, [&](int32_t name, int32_t pixel, const auto& y, const auto& x) {
    Vector<T> sum[kCount];
#pragma GCC unroll 16
    for (int32_t v = 0; v < kCount; ++v) {
      sum[v] = -Vector<T>{};  // as kNothing
    }
    for_each_tap(y, x, bin.width, [&](int64_t offset, T weight) {
#pragma GCC unroll 16
      for (int32_t v = 0; v < kCount; ++v) {
        sum[v] += weight * in.template load_at<T>(pixel + offset, v);
      }
    });
#pragma GCC unroll 16
    for (int32_t v = 0; v < kCount; ++v) {
      best.challenge(v, sum[v], Numbers<T>{} + name);
    }
  });
}

template <typename T, typename In>
void find_best_sample(
    const BinSamples<T>& bin, const In* plane, int64_t item_stride, BestOfLane<T>& best) {
  for_each_sample(bin, [&](int32_t name, int32_t pixel, const auto& y, const auto& x) {
    const In* const first = plane + pixel * item_stride;
    T sum = kNothing<T>;
    for_each_tap(y, x, bin.width, [&](int64_t offset, T weight) {
      sum = multiply_add(weight, static_cast<T>(first[offset * item_stride]), sum);
    });
    best.challenge(sum, name);
  });
}

// Calls store(v, value, name) with the largest samples of kCount vectors of neighbouring channels.
template <int32_t kCount, bool kPixels, typename T, typename In, typename StoreFn>
[[gnu::always_inline]] inline void select_bin(
    const BinSamples<T>& bin, const Lanes<In>& in, StoreFn&& store_best) {
  Best<T, kCount> best(bin);
  if constexpr (kPixels) {
    find_best_pixel(bin, in, best);
  } else {
    find_best_sample(bin, in, best);
  }
#pragma GCC unroll 16
  for (int32_t v = 0; v < kCount; ++v) {
    store_best(v, best.value[v], best.name[v]);
  }
}
