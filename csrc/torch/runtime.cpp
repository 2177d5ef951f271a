#include "cpu/runtime.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if __has_include(<pthread.h>)
#include <pthread.h>
#endif

#include <ATen/Parallel.h>
#include <ATen/Version.h>

#ifndef INTRA_OP_PARALLEL
#error "at::parallel_for is serial in this file: compile it with OpenMP"
#endif

namespace roiops::cpu {
namespace {

// NOTE [Plain threads]
// OpenMP's threads are not there in a process that fork() has made, but GNU's OpenMP waits for them
// all the same: such a process starts threads of its own for every call. So does a library for
// ThreadSanitizer, which does not see how OpenMP's threads wait for each other: always the same
// number, so that PyTorch itself can be told to use one.
#ifdef ROIOPS_PLAIN_THREADS
std::atomic<bool> plain_threads{true};
int64_t thread_count() {
  return ROIOPS_PLAIN_THREADS;
}
#else
std::atomic<bool> plain_threads{false};
int64_t thread_count() {
  return at::get_num_threads();
}
#endif

#if __has_include(<pthread.h>)
[[maybe_unused]] const int registered =
    pthread_atfork(nullptr, nullptr, [] { plain_threads = true; });
#endif

thread_local bool in_plain_region = false;

void on_plain_threads(int64_t count, const std::function<void()>& work) {
  std::mutex mutex;
  std::exception_ptr error;
  const auto guarded = [&] {
    in_plain_region = true;
    try {
      work();
    } catch (...) {
      const std::lock_guard lock(mutex);
      error = std::current_exception();
    }
    in_plain_region = false;
  };
  {
    std::vector<std::jthread> threads;
    try {
      for (int64_t i = 1; i < count; ++i) {
        threads.emplace_back(guarded);
      }
    } catch (const std::system_error&) {
      // The system grants no more: those that there are do all of the work.
    }
    guarded();
  }
  if (error) {
    std::rethrow_exception(error);
  }
}

}  // namespace

int64_t threads() {
  return at::in_parallel_region() || in_plain_region ? 1 : thread_count();
}

// Threads take the next items when they are done with theirs: pieces differ, and so do cores.
void parallel_for(int64_t count, const std::function<void(int64_t, int64_t)>& body, int64_t grain) {
  constexpr int64_t kTurns = 8;
  const int64_t wanted = std::min<int64_t>(threads(), count / grain);
  if (wanted <= 1) {
    if (count > 0) {
      body(0, count);
    }
    return;
  }
  const int64_t step = std::max<int64_t>(count / (wanted * kTurns), 1);
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    for (int64_t begin = next.fetch_add(step); begin < count; begin = next.fetch_add(step)) {
      body(begin, std::min(begin + step, count));
    }
  };
  if (plain_threads) {
    on_plain_threads(wanted, work);
  } else {
    at::parallel_for(0, wanted, 1, [&](int64_t, int64_t) { work(); });
  }
}

Isa isa() {
  const std::string capability = at::get_cpu_capability();
  if (capability == "AVX512") {
    return Isa::kAvx512;
  }
  return capability == "AVX2" ? Isa::kAvx2 : Isa::kDefault;
}

}  // namespace roiops::cpu
