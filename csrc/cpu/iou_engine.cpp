// See iou_engine.h. Compiled without contraction, unlike the other engines: decisions must have the
// bits of a plain loop.
#include "cpu/iou_engine.h"
#include "cpu/isa.h"

namespace roiops::cpu::ROIOPS_ISA {
namespace {

#include "cpu/vec.h"

template <typename Kind, typename T>
struct Fields {
  Vector<T> at[Kind::kFields];
};

template <typename Kind, typename T>
ROIOPS_INLINE Fields<Kind, T> same_box(const T* box) {
  Fields<Kind, T> result;
  for (int32_t i = 0; i < Kind::kFields; ++i) {
    result.at[i] = Vector<T>{} + box[i];
  }
  return result;
}

template <typename Kind, typename T>
ROIOPS_INLINE Fields<Kind, T> boxes_at(const T* groups, int64_t group, int32_t lane) {
  Fields<Kind, T> result;
  for (int32_t i = 0; i < Kind::kFields; ++i) {
    result.at[i] = load<T>(groups + (group * Kind::kFields + i) * kLanes<T> + lane);
  }
  return result;
}

// Whether an element of a mask (whose elements are 0 or -1) is set.
template <typename Mask>
ROIOPS_INLINE bool any(const Mask& mask) {
#if defined(__AVX512F__)
  const auto bits = bits_of<__m512i>(mask);
  return _mm512_test_epi64_mask(bits, bits) != 0;
#elif defined(__AVX2__)
  const auto bits = bits_of<__m256i>(mask);
  return _mm256_testz_si256(bits, bits) == 0;
#else
  uint64_t words[sizeof(Mask) / sizeof(uint64_t)], all = 0;
  __builtin_memcpy(words, &mask, sizeof(mask));
  for (const uint64_t word : words) {
    all |= word;
  }
  return all != 0;
#endif
}

template <typename Kind, typename T>
bool any_above(
    const T* box, const T* groups, int64_t begin, int64_t end, T threshold, Doubt<T> doubt) {
  const Fields<Kind, T> one = same_box<Kind>(box);
  const Vector<T> limit = Vector<T>{} + threshold;
  for (int64_t group = begin; group < end; ++group) {
    for (int32_t lane = 0; lane < kLanes<T>; lane += kWidth<T>) {
      const Fields<Kind, T> others = boxes_at<Kind>(groups, group, lane);
      if (any(~Kind::is_below(one.at, others.at, doubt)) &&
          any(Kind::iou(others.at, one.at) > limit)) {  // kept, candidate: as on CUDA
        return true;
      }
    }
  }
  return false;
}

template <typename Kind, typename T>
void row(const T* box, const T* groups, int64_t begin, int64_t end, T* ious) {
  const Fields<Kind, T> one = same_box<Kind>(box);
  for (int64_t group = begin; group < end; ++group) {
    for (int32_t lane = 0; lane < kLanes<T>; lane += kWidth<T>) {
      const Fields<Kind, T> others = boxes_at<Kind>(groups, group, lane);
      store<T>(ious + (group - begin) * kLanes<T> + lane, Kind::iou(one.at, others.at));
    }
  }
}

template <typename Kind, typename T>
constexpr IouEngine<T> engine_of() {
  return {Kind::kFields, &any_above<Kind, T>, &row<Kind, T>};
}

}  // namespace

template <typename T>
const IouEngines<T>& iou_engines() {
  static constexpr IouEngines<T> kEngines = {
      engine_of<CornerBoxes, T>(), engine_of<RotatedBoxes, T>()};
  return kEngines;
}

template const IouEngines<double>& iou_engines<double>();
template const IouEngines<float>& iou_engines<float>();

}  // namespace roiops::cpu::ROIOPS_ISA
