// Runs a kernel of csrc/cuda by real threads, and as HostContext does: see phases.cpp.
#pragma once

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "cuda/context.h"

namespace roiops::cuda {

constexpr int32_t kThreads = 32;
constexpr int64_t kImages = 2;

struct ThreadContext {
  int64_t block;
  int32_t threads;
  int32_t thread;
  std::barrier<>& barrier;

  template <typename Body>
  void phase(Body&& body) {
    body(thread);
    barrier.arrive_and_wait();
  }
  void set_bit(uint32_t* words, int32_t bit) {
    std::atomic_ref<uint32_t>(words[bit / 32]).fetch_or(uint32_t{1} << (bit % 32));
  }
};

// Shared memory of a block.
template <typename Kernel>
struct Memory {
  std::vector<double> words;

  explicit Memory(const Kernel& kernel) {
    Arena size;
    kernel.share(size, kThreads);
    words.resize(size.used / sizeof(double) + 2);
  }
  // Garbage, as on a GPU.
  void forget() {
    std::fill(words.begin(), words.end(), std::numeric_limits<double>::quiet_NaN());
  }
  Arena arena() {
    return {(reinterpret_cast<uintptr_t>(words.data()) + 15) / 16 * 16};
  }
};

template <typename Kernel>
void run_on_threads(const Kernel& kernel, int64_t blocks) {
  Memory<Kernel> memory(kernel);
  std::barrier<> barrier(kThreads);
  std::vector<std::thread> threads;
  for (int32_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int64_t block = 0; block < blocks; ++block) {
        if (thread == 0) {
          memory.forget();
        }
        barrier.arrive_and_wait();
        ThreadContext context{block, kThreads, thread, barrier};
        Arena arena = memory.arena();
        kernel(context, arena);
        barrier.arrive_and_wait();
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

template <typename Kernel>
void run_on_host(const Kernel& kernel, int64_t blocks) {
  Memory<Kernel> memory(kernel);
  for (int64_t block = 0; block < blocks; ++block) {
    memory.forget();
    HostContext context{block, kThreads, false};
    Arena arena = memory.arena();
    kernel(context, arena);
  }
}

// kernel_for(results) is the kernel that writes `size` numbers there.
template <typename T, typename KernelFor>
std::vector<T> compare(
    const std::string& name, int64_t size, int64_t blocks, KernelFor&& kernel_for) {
  std::vector<T> by_threads(size, T(-77)), by_host(size, T(-77));
  run_on_threads(kernel_for(by_threads.data()), blocks);
  run_on_host(kernel_for(by_host.data()), blocks);
  const bool same = std::memcmp(by_threads.data(), by_host.data(), size * sizeof(T)) == 0;
  std::printf("%s %s\n", same ? "same" : "DIFFERENT", name.c_str());
  return by_host;
}

inline std::vector<float> random_numbers(int64_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> numbers(count);
  for (float& number : numbers) {
    number = normal(generator);
  }
  return numbers;
}

}  // namespace roiops::cuda
