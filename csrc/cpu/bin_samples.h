// One bin: its samples, and what they are named. Included as vec.h is, by the engine of maxima.

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

// Numbers as wide as the values, so that one mask chooses among both.
template <typename T>
using Number = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;

template <typename T>
using Numbers = Vector<Number<T>>;

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
