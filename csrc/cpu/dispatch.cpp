// Chooses the engine of this machine's instruction set. More than one is compiled as soon as
// CMakeLists.txt adds a second ISA; the choice then stands here and nowhere else.
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include "cpu/engine.h"
#include "cpu/max_engine.h"

namespace roiops::cpu {

namespace generic {
template <typename S>
const Engine<S>& engine();
template <typename S>
const MaxEngine<S>& max_engine();
}  // namespace generic

template <typename S>
const Engine<S>& engine() {
  return generic::engine<S>();
}

template <typename S>
const MaxEngine<S>& max_engine() {
  return generic::max_engine<S>();
}

template const Engine<double>& engine<double>();
template const Engine<float>& engine<float>();
template const Engine<c10::Half>& engine<c10::Half>();
template const Engine<c10::BFloat16>& engine<c10::BFloat16>();
template const MaxEngine<double>& max_engine<double>();
template const MaxEngine<float>& max_engine<float>();
template const MaxEngine<c10::Half>& max_engine<c10::Half>();
template const MaxEngine<c10::BFloat16>& max_engine<c10::BFloat16>();

}  // namespace roiops::cpu
