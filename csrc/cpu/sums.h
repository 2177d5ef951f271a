// The taps of a bin, and sums over them. Included as vec.h is.

// Sums of kCount vectors of neighbouring lanes, in registers.
template <int32_t kCount, typename T>
struct Sums {
  Vector<T> at[kCount] = {};

  template <typename In>
  void add(T weight, const In* values) {
#pragma GCC unroll 16
    for (int32_t i = 0; i < kCount; ++i) {
      at[i] += weight * load<T>(values + i * kWidth<T>);
    }
  }
  template <typename Out>
  void store_to(Out* values) const {
#pragma GCC unroll 16
    for (int32_t i = 0; i < kCount; ++i) {
      store<T>(values + i * kWidth<T>, at[i]);
    }
  }
};

// The same of bfloat16, from and to; a pair of vectors shares its lanes out in turn.
template <int32_t kCount>
struct PairedSums {
  static_assert(kCount % 2 == 0);
  Vector<float> at[kCount] = {};

  void add(float weight, const c10::BFloat16* values) {
#pragma GCC unroll 16
    for (int32_t i = 0; i < kCount; i += 2) {
      Vector<float> lower, upper;
      load_halves(values + i * kWidth<float>, lower, upper);
      at[i] += weight * lower;
      at[i + 1] += weight * upper;
    }
  }
  void store_to(c10::BFloat16* values) const {
#pragma GCC unroll 16
    for (int32_t i = 0; i < kCount; i += 2) {
      store_halves(values + i * kWidth<float>, at[i], at[i + 1]);
    }
  }
};

// Sums of what is stored as S, with results that are too.
template <int32_t kCount, typename S, typename T = Accumulator<S>>
using SumsOf = std::conditional_t<std::is_same_v<S, c10::BFloat16> && kCount % 2 == 0,
    PairedSums<kCount>, Sums<kCount, T>>;

// Of kCount lanes at any stride.
template <int32_t kCount, typename T>
struct StridedSums {
  int64_t lane_stride;
  T at[kCount] = {};

  template <typename In>
  void add(T weight, const In* values) {
#pragma GCC unroll 16
    for (int32_t i = 0; i < kCount; ++i) {
      at[i] = multiply_add(weight, static_cast<T>(values[i * lane_stride]), at[i]);
    }
  }
};

// sums += the bin's taps of `data`, which starts with item `first`.
template <typename S, typename T, typename In>
ROIOPS_INLINE void sum_bin(
    const BinTaps<T>& bin, const In* data, int64_t item_stride, int64_t first, S& sums) {
  for (const Tap<T>* tap = bin.begin; tap != bin.end; ++tap) {
    sums.add(tap->weight, data + (tap->pixel - first) * item_stride);
  }
}

template <typename S, typename T, typename In>
ROIOPS_INLINE void sum_bin(
    const BinAxes<T>& bin, const In* data, int64_t item_stride, int64_t first, S& sums) {
  for (const Tap<T>* y = bin.y.begin; y != bin.y.end; ++y) {
    const In* const row = data + (y->pixel * bin.width - first) * item_stride;
    for (const Tap<T>* x = bin.x.begin; x != bin.x.end; ++x) {
      sums.add(y->weight * x->weight, row + x->pixel * item_stride);
    }
  }
}

// Calls tap(pixel, weight) for the bin's taps among pixels [first, end).
template <typename T, typename TapFn>
ROIOPS_INLINE void for_each_tap(const BinTaps<T>& bin, int64_t first, int64_t end, TapFn&& tap) {
  for (const Tap<T>* at = bin.begin; at != bin.end; ++at) {
    if (at->pixel >= first && at->pixel < end) {
      tap(at->pixel, at->weight);
    }
  }
}

// These are whole rows of the map.
template <typename T, typename TapFn>
ROIOPS_INLINE void for_each_tap(const BinAxes<T>& bin, int64_t first, int64_t end, TapFn&& tap) {
  for (const Tap<T>* y = bin.y.begin; y != bin.y.end; ++y) {
    const int64_t row = y->pixel * bin.width;
    if (row < first || row >= end) {
      continue;
    }
    for (const Tap<T>* x = bin.x.begin; x != bin.x.end; ++x) {
      tap(row + x->pixel, y->weight * x->weight);
    }
  }
}

// Calls body.operator()<count>(lane) for groups of lanes whose values stay in registers.
template <int32_t kCount = 8, typename Body>
void for_each_group(int64_t lane, int64_t lanes, Body&& body) {
  for (; lane + kCount <= lanes; lane += kCount) {
    body.template operator()<kCount>(lane);
  }
  if constexpr (kCount > 1) {
    for_each_group<kCount / 2>(lane, lanes, body);
  }
}
