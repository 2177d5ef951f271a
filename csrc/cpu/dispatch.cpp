// Chooses, once, the engine of this machine's instruction set.
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include "cpu/engine.h"
#include "cpu/max_engine.h"
#include "cpu/runtime.h"

namespace roiops::cpu {

#define ROIOPS_DECLARE(ISA)         \
  namespace ISA {                   \
  template <typename S>             \
  const Engine<S>& engine();        \
  template <typename S>             \
  const MaxEngine<S>& max_engine(); \
  }

ROIOPS_DECLARE(generic)
#ifdef ROIOPS_X86_ISAS
ROIOPS_DECLARE(avx2)
ROIOPS_DECLARE(avx512)
#endif

template <typename S>
const Engine<S>& engine() {
  static const Engine<S>& chosen = []() -> const Engine<S>& {
#ifdef ROIOPS_X86_ISAS
    switch (isa()) {
      case Isa::kAvx512:
        return avx512::engine<S>();
      case Isa::kAvx2:
        return avx2::engine<S>();
      default:
        break;
    }
#endif
    return generic::engine<S>();
  }();
  return chosen;
}

template <typename S>
const MaxEngine<S>& max_engine() {
  static const MaxEngine<S>& chosen = []() -> const MaxEngine<S>& {
#ifdef ROIOPS_X86_ISAS
    switch (isa()) {
      case Isa::kAvx512:
        return avx512::max_engine<S>();
      case Isa::kAvx2:
        return avx2::max_engine<S>();
      default:
        break;
    }
#endif
    return generic::max_engine<S>();
  }();
  return chosen;
}

#define ROIOPS_INSTANTIATE(S)            \
  template const Engine<S>& engine<S>(); \
  template const MaxEngine<S>& max_engine<S>();

ROIOPS_INSTANTIATE(double)
ROIOPS_INSTANTIATE(float)
ROIOPS_INSTANTIATE(c10::Half)
ROIOPS_INSTANTIATE(c10::BFloat16)

}  // namespace roiops::cpu
