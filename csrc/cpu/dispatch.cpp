// Chooses, once, the engine of this machine's instruction set.
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include "cpu/engine.h"
#include "cpu/iou_engine.h"
#include "cpu/max_engine.h"
#include "cpu/runtime.h"

namespace roiops::cpu {

#define ROIOPS_DECLARE(ISA)           \
  namespace ISA {                     \
  template <typename S>               \
  const Engine<S>& engine();          \
  template <typename S>               \
  const MaxEngine<S>& max_engine();   \
  template <typename T>               \
  const IouEngines<T>& iou_engines(); \
  }

ROIOPS_DECLARE(generic)
#ifdef ROIOPS_X86_ISAS
ROIOPS_DECLARE(avx2)
ROIOPS_DECLARE(avx512)
#else
namespace avx2 = generic;
namespace avx512 = generic;
#endif

namespace {

template <typename E>
const E& choose(const E& of_generic, const E& of_avx2, const E& of_avx512) {
  const Isa best = isa();
  return best == Isa::kAvx512 ? of_avx512 : best == Isa::kAvx2 ? of_avx2 : of_generic;
}

}  // namespace

template <typename S>
const Engine<S>& engine() {
  static const Engine<S>& chosen =
      choose(generic::engine<S>(), avx2::engine<S>(), avx512::engine<S>());
  return chosen;
}

template <typename S>
const MaxEngine<S>& max_engine() {
  static const MaxEngine<S>& chosen =
      choose(generic::max_engine<S>(), avx2::max_engine<S>(), avx512::max_engine<S>());
  return chosen;
}

template <typename T>
const IouEngines<T>& iou_engines() {
  static const IouEngines<T>& chosen =
      choose(generic::iou_engines<T>(), avx2::iou_engines<T>(), avx512::iou_engines<T>());
  return chosen;
}

template const IouEngines<double>& iou_engines<double>();
template const IouEngines<float>& iou_engines<float>();

#define ROIOPS_INSTANTIATE(S)            \
  template const Engine<S>& engine<S>(); \
  template const MaxEngine<S>& max_engine<S>();

ROIOPS_INSTANTIATE(double)
ROIOPS_INSTANTIATE(float)
ROIOPS_INSTANTIATE(c10::Half)
ROIOPS_INSTANTIATE(c10::BFloat16)

}  // namespace roiops::cpu
