// One bin: its samples, and the largest of them. Included as vec.h is, by the engine of maxima.

// The samples of one bin.
template <typename T>
struct BinSamples {
  const AxisSample<T>* y;
  const AxisSample<T>* x;
  int32_t rows, columns;
  int32_t width;  // of the map
  bool pixels;
  int64_t first;  // the RoI's samples before this bin's

  int64_t count() const {
    return int64_t{rows} * columns;
  }
  int32_t pixel(int64_t i, int64_t j) const {
    return y[i].tap[0].pixel * width + x[j].tap[0].pixel;
  }
  // What the first sample is named.
  int32_t first_name() const {
    return pixels ? pixel(0, 0) : 0;
  }
  // The number of the sample that a winner names, or -1.
  int64_t number_of(int32_t name) const {
    if (name < 0 || count() == 0) {
      return -1;
    }
    const int32_t i = pixels ? name / width - y->tap[0].pixel : name / columns;
    const int32_t j = pixels ? name % width - x->tap[0].pixel : name % columns;
    const bool valid = i >= 0 && i < rows && j >= 0 && j < columns;
    return valid ? int64_t{i} * columns + j : -1;
  }
};

// Calls body(b, samples) for every bin.
template <typename T, typename Body>
void for_each_bin(const RoiSamples<T>& roi, Body&& body) {
  int64_t b = 0, first = 0;
  for (int64_t p = 0; p < roi.y.bins; ++p) {
    const int64_t top = roi.y.start[p], rows = roi.y.start[p + 1] - top;
    for (int64_t q = 0; q < roi.x.bins; ++q) {
      const int64_t left = roi.x.start[q], columns = roi.x.start[q + 1] - left;
      body(b++, BinSamples<T>{roi.y.samples + top, roi.x.samples + left, static_cast<int32_t>(rows),
                    static_cast<int32_t>(columns), roi.width, roi.pixels, first});
      first += rows * columns;
    }
  }
}

// Calls tap(offset, weight) for the pixels of a sample, counted from the first.
template <typename T, typename TapFn>
void for_each_tap(const AxisSample<T>& y, const AxisSample<T>& x, int32_t width, TapFn&& tap) {
  for (int32_t a = 0; a < y.count; ++a) {
    for (int32_t b = 0; b < x.count; ++b) {
      tap(int64_t{a} * width + b, y.tap[a].weight * x.tap[b].weight);
    }
  }
}

// Calls sample(name, pixel, y, x) for every sample of a bin: the first of its pixels, and its axes.
template <typename T, typename SampleFn>
void for_each_sample(const BinSamples<T>& bin, SampleFn&& sample) {
  int32_t number = 0;
  for (int64_t i = 0; i < bin.rows; ++i) {
    for (int64_t j = 0; j < bin.columns; ++j, ++number) {
      const int32_t pixel = bin.pixel(i, j);
      sample(bin.pixels ? pixel : number, pixel, bin.y[i], bin.x[j]);
    }
  }
}

// What sums start with: unlike 0 it keeps the sign of a zero that is the only term.
template <typename T>
constexpr T kNothing = T(-0.0);

template <typename T>
constexpr T kLowest = -static_cast<T>(__builtin_inf());

// Numbers as wide as the values, so that one mask chooses among both.
template <typename T>
using Number = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;

template <typename T>
using Numbers = Vector<Number<T>>;

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
      name = number;
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

// The same of one channel, in vectors along the rows if they are long and pixels are neighbours;
// the last one overlaps.
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
  if (item_stride != 1 || bin.columns < kWidth<T>) {
    // No branch, which few pixels would mispredict; a NaN is noticed, and looked for again.
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
    return;
  }
  Numbers<T> number;
  for (int32_t v = 0; v < kWidth<T>; ++v) {
    number[v] = v;
  }
  Best<T, 1> wide(bin);
  for (int64_t i = 0; i < bin.rows; ++i) {
    const int32_t first = bin.pixel(i, 0);
    for (int32_t next = 0; next < bin.columns; next += kWidth<T>) {
      const int32_t last = bin.columns - kWidth<T>, pixel = first + (next < last ? next : last);
      wide.challenge(0, load<T>(plane + pixel), number + pixel);
    }
  }
  for (int32_t v = 0; v < kWidth<T>; ++v) {
    best.challenge_any(wide.value[0][v], static_cast<int32_t>(wide.name[0][v]));
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

// Names are 32 bits wide, whatever the values are.
template <typename T>
void store_names(int32_t* at, const Numbers<T>& names) {
  if constexpr (sizeof(Number<T>) == sizeof(int32_t)) {
    store<int32_t>(at, names);
  } else {
    for (int32_t i = 0; i < kWidth<T>; ++i) {
      at[i] = static_cast<int32_t>(names[i]);
    }
  }
}

template <typename T>
Numbers<T> load_names(const int32_t* at) {
  if constexpr (sizeof(Number<T>) == sizeof(int32_t)) {
    return load<int32_t>(at);
  } else {
    Numbers<T> names;
    for (int32_t i = 0; i < kWidth<T>; ++i) {
      names[i] = at[i];
    }
    return names;
  }
}

// Calls body(b, lane, samples, s) for the winner of every bin and lane, s being its number, or -1.
template <typename T, typename Body>
void for_each_winner(const RoiSamples<T>& roi, const Block<const int32_t>& names, Body&& body) {
  for_each_bin(roi, [&](int64_t b, const BinSamples<T>& bin) {
    for (int64_t lane = 0; lane < names.lanes; ++lane) {
      body(b, lane, bin,
          bin.number_of(names.data[b * names.item_stride + lane * names.lane_stride]));
    }
  });
}

// Calls tap(offset of the pixel, number of the tap) for sample s of a bin.
template <typename T, typename TapFn>
void for_each_tap_of(const BinSamples<T>& bin, int64_t s, TapFn&& tap) {
  const int64_t i = s / bin.columns, j = s % bin.columns;
  int64_t number = kSampleTaps * (bin.first + s);
  for_each_tap(bin.y[i], bin.x[j], bin.width,
      [&](int64_t offset, T) { tap(bin.pixel(i, j) + offset, number++); });
}
