// Memory for the length of a scope. Each thread keeps up to kKeptScratch bytes of it from call to
// call, as long as it lives: the system zeroes fresh pages, which takes longer than what is written
// there.
#pragma once

#include <cstddef>
#include <cstdint>

namespace roiops::cpu {

inline constexpr size_t kKeptScratch = size_t{16} << 20;

// At least `bytes` of memory, aligned to a line of the cache; `bytes` becomes its real size.
void* take_scratch(size_t& bytes);
void give_back_scratch(void* memory, size_t bytes);

template <typename T>
class Scratch {
 public:
  explicit Scratch(int64_t count)
      : bytes_(static_cast<size_t>(count) * sizeof(T)),
        memory_(static_cast<T*>(take_scratch(bytes_))) {}
  ~Scratch() {
    give_back_scratch(memory_, bytes_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  T* get() const {
    return memory_;
  }

 private:
  size_t bytes_;
  T* memory_;
};

}  // namespace roiops::cpu
