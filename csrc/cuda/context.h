// Where a kernel runs: in a block of a GPU, or in a loop on the host that stands for one.
//
// NOTE [Phases]
// A kernel is a function object that is called once per block with a Context. Its work is a series
// of phases, body(thread) for every thread of the block with a barrier after each, and no variable
// of one thread lives from phase to phase: what must live is in shared memory, or the same for all
// threads. The same source therefore runs on the host, thread after thread, and the tests put every
// kernel through the hard cases on machines without a GPU (test/cuda).
//
// Within a phase a thread must not read what another one writes; set_bit, and several writers of
// one value, are allowed. Between phases all threads may read shared memory, and must then do the
// same, but only what the next phase does not write: a faster thread may be in it.
#pragma once

#include <cstdint>

#include <c10/macros/Macros.h>

namespace roiops::cuda {

// Hands out pieces of shared memory; without memory it only counts.
struct Arena {
  uintptr_t base = 0;
  int64_t used = 0;

  template <typename T>
  C10_HOST_DEVICE T* take(int64_t count) {
    constexpr int64_t kAlignment = 16;
    T* const piece = reinterpret_cast<T*>(base + static_cast<uintptr_t>(used));
    used += (count * int64_t{sizeof(T)} + kAlignment - 1) / kAlignment * kAlignment;
    return piece;
  }
};

struct HostContext {
  int64_t block;
  int32_t threads;
  bool backwards;  // the order of the threads must not matter

  template <typename Body>
  void phase(Body&& body) {
    for (int32_t i = 0; i < threads; ++i) {
      body(backwards ? threads - 1 - i : i);
    }
  }
  void set_bit(uint32_t* words, int32_t bit) {
    words[bit / 32] |= uint32_t{1} << (bit % 32);
  }
};

#ifdef __CUDACC__
struct DeviceContext {
  int64_t block;
  int32_t threads;

  template <typename Body>
  __device__ void phase(Body&& body) {
    body(static_cast<int32_t>(threadIdx.x));
    __syncthreads();
  }
  __device__ void set_bit(uint32_t* words, int32_t bit) {
    atomicOr(words + bit / 32, uint32_t{1} << (bit % 32));
  }
};
#endif

// a * b + c, fused where that is free. Geometry is compiled without contraction, so engines ask.
template <typename T>
C10_HOST_DEVICE T multiply_add(T a, T b, T c) {
#ifdef __CUDA_ARCH__
  return fma(a, b, c);
#else
  return a * b + c;
#endif
}

}  // namespace roiops::cuda
