#include "cpu/pages.h"

#include <cstdlib>
#include <cstring>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace roiops::cpu {

#if defined(__linux__) && defined(MADV_HUGEPAGE)
namespace {

constexpr uintptr_t kHugePage = uintptr_t{2} << 20;

bool wanted() {
  const char* const value = std::getenv("ROIOPS_HUGE_PAGES");
  return !value || std::strcmp(value, "0") != 0;
}

}  // namespace

// Only the pages that lie whole inside: the rest may hold other data.
void advise_huge_pages(void* data, int64_t bytes) {
  static const bool enabled = wanted();
  const auto first = (reinterpret_cast<uintptr_t>(data) + kHugePage - 1) / kHugePage * kHugePage;
  const auto end =
      (reinterpret_cast<uintptr_t>(data) + static_cast<uintptr_t>(bytes)) / kHugePage * kHugePage;
  if (enabled && bytes >= static_cast<int64_t>(2 * kHugePage) && first < end) {
    // Advice: a refusal is no error.
    static_cast<void>(madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE));
  }
}
#else
void advise_huge_pages(void*, int64_t) {}
#endif

}  // namespace roiops::cpu
