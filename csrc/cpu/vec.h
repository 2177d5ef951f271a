// Vectors of the instruction set that the including file is compiled for, by the compiler's vector
// extensions. Included by the engines only, inside their anonymous namespace: see NOTE [Engine].
//
// Storage types are converted at load and store. A bfloat16 is the upper half of a float; float16
// has instructions from AVX2 on.

#if defined(__AVX512F__)
constexpr int32_t kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int32_t kVectorBytes = 32;
#else
constexpr int32_t kVectorBytes = 16;
#endif

template <typename T>
struct VectorOf {
  typedef T Type __attribute__((vector_size(kVectorBytes)));
};
template <typename T>
using Vector = typename VectorOf<T>::Type;

// Elements of a vector.
template <typename T>
constexpr int32_t kWidth = kVectorBytes / int32_t{sizeof(T)};

struct Words {
  typedef uint32_t Wide __attribute__((vector_size(kVectorBytes)));
  typedef uint16_t Narrow __attribute__((vector_size(kVectorBytes / 2)));
};

template <typename To, typename From>
To bits_of(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof(to));
  return to;
}

template <typename T, typename S>
Vector<T> load(const S* at) {
  if constexpr (std::is_same_v<S, T>) {
    Vector<T> value;
    __builtin_memcpy(&value, at, sizeof(value));
    return value;
  } else if constexpr (std::is_same_v<S, c10::BFloat16>) {
    Words::Narrow halves;
    __builtin_memcpy(&halves, at, sizeof(halves));
    return bits_of<Vector<T>>(__builtin_convertvector(halves, Words::Wide) << 16);
  } else {
#if defined(__AVX512F__)
    return _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
#elif defined(__F16C__)
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
#else
    Vector<T> value;
    for (int32_t i = 0; i < kWidth<T>; ++i) {
      value[i] = static_cast<T>(at[i]);
    }
    return value;
#endif
  }
}

// bfloat16s, to nearest, ties to even, in the lower half of each word.
inline Words::Wide rounded_halves(const Vector<float>& value) {
  const auto word = bits_of<Words::Wide>(value);
  const auto rounded = (word + 0x7fff + ((word >> 16) & 1)) >> 16;
  const auto is_nan = bits_of<Words::Wide>(value != value);
  return (rounded & ~is_nan) | (0x7fc0 & is_nan);
}

template <typename T, typename S>
void store(S* at, const Vector<T>& value) {
  if constexpr (std::is_same_v<S, T>) {
    __builtin_memcpy(at, &value, sizeof(value));
  } else if constexpr (std::is_same_v<S, c10::BFloat16>) {
    const auto halves = __builtin_convertvector(rounded_halves(value), Words::Narrow);
    __builtin_memcpy(at, &halves, sizeof(halves));
  } else {
#if defined(__AVX512F__)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(at),
        _mm512_maskz_cvtps_ph(0xffff, value, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(at), _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
#else
    for (int32_t i = 0; i < kWidth<T>; ++i) {
      at[i] = static_cast<S>(value[i]);
    }
#endif
  }
}

// 2 * kWidth neighbouring bfloat16s, every other one in each vector: half the instructions that
// neighbours in one vector take.
inline void load_halves(const c10::BFloat16* at, Vector<float>& lower, Vector<float>& upper) {
  Words::Wide words;
  __builtin_memcpy(&words, at, sizeof(words));
  lower = bits_of<Vector<float>>(words << 16);
  upper = bits_of<Vector<float>>(words & 0xffff0000U);
}

inline void store_halves(
    c10::BFloat16* at, const Vector<float>& lower, const Vector<float>& upper) {
  const auto words = rounded_halves(lower) | rounded_halves(upper) << 16;
  __builtin_memcpy(at, &words, sizeof(words));
}

// sum + a * b with the rounding that vectors have: left to itself, the compiler may take products
// of several terms at a time, and round them.
template <typename T>
T multiply_add(T a, T b, T sum) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  if constexpr (sizeof(T) == sizeof(double)) {
    return __builtin_fma(a, b, sum);
  } else {
    return __builtin_fmaf(a, b, sum);
  }
#else
  return sum + a * b;
#endif
}

// The sum of a vector's elements, in a fixed order: halves first.
template <typename T, int32_t kStep, size_t... kIndex>
ROIOPS_INLINE Vector<T> add_swapped(const Vector<T>& a, std::index_sequence<kIndex...>) {
  return a + __builtin_shufflevector(a, a, (kIndex ^ kStep)...);
}

template <typename T, int32_t kStep = kWidth<T> / 2>
ROIOPS_INLINE T total_of(const Vector<T>& values) {
  if constexpr (kStep == 0) {
    return values[0];
  } else {
    return total_of<T, kStep / 2>(
        add_swapped<T, kStep>(values, std::make_index_sequence<kWidth<T>>()));
  }
}

// Swaps the off-diagonal squares of kStep x kStep elements in a pair of rows.
template <typename T, int32_t kStep, size_t... kIndex>
ROIOPS_INLINE void swap_squares(Vector<T>& a, Vector<T>& b, std::index_sequence<kIndex...>) {
  constexpr size_t kWhole = sizeof...(kIndex);
  const Vector<T> low =
      __builtin_shufflevector(a, b, (kIndex & kStep ? kWhole + kIndex - kStep : kIndex)...);
  b = __builtin_shufflevector(a, b, (kIndex & kStep ? kWhole + kIndex : kIndex + kStep)...);
  a = low;
}

// Transposes kWidth rows in place; inline, because rows are registers.
template <typename T, int32_t kStep = 1>
ROIOPS_INLINE void transpose(Vector<T>* rows) {
  if constexpr (kStep < kWidth<T>) {
#pragma GCC unroll 16
    for (int32_t row = 0; row < kWidth<T>; ++row) {
      if ((row & kStep) == 0) {
        swap_squares<T, kStep>(rows[row], rows[row + kStep], std::make_index_sequence<kWidth<T>>());
      }
    }
    transpose<T, kStep * 2>(rows);
  }
}
