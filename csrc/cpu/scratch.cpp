#include "cpu/scratch.h"

#include <algorithm>
#include <array>
#include <new>

#include "cpu/pages.h"

namespace roiops::cpu {
namespace {

constexpr std::align_val_t kAlignment{64};

// AddressSanitizer knows the ends of what was allocated, not of what was asked for: it gets to see
// every piece.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kKeeps = false;
#else
constexpr bool kKeeps = true;
#endif

struct Piece {
  void* memory = nullptr;
  size_t bytes = 0;
};

void release(const Piece& piece) {
  ::operator delete(piece.memory, kAlignment);
}

// What this thread keeps, the latest last.
class Kept {
 public:
  ~Kept() {
    std::for_each(pieces_.begin(), pieces_.begin() + count_, release);
  }

  // The smallest that is large enough.
  Piece take(size_t bytes) {
    size_t best = count_;
    for (size_t i = 0; i < count_; ++i) {
      if (pieces_[i].bytes >= bytes && (best == count_ || pieces_[i].bytes < pieces_[best].bytes)) {
        best = i;
      }
    }
    if (best == count_) {
      return {};
    }
    const Piece piece = pieces_[best];
    forget(best);
    return piece;
  }

  // Makes room by releasing what was given back first.
  void keep(const Piece& piece) {
    if (!kKeeps || piece.bytes > kKeptScratch) {
      release(piece);
      return;
    }
    while (count_ == pieces_.size() || total_ + piece.bytes > kKeptScratch) {
      release(pieces_[0]);
      forget(0);
    }
    pieces_[count_++] = piece;
    total_ += piece.bytes;
  }

 private:
  void forget(size_t index) {
    total_ -= pieces_[index].bytes;
    std::copy(pieces_.begin() + index + 1, pieces_.begin() + count_, pieces_.begin() + index);
    --count_;
  }

  std::array<Piece, 8> pieces_;
  size_t count_ = 0, total_ = 0;
};

Kept& kept() {
  thread_local Kept instance;
  return instance;
}

}  // namespace

void* take_scratch(size_t& bytes) {
  const Piece piece = kept().take(bytes);
  if (piece.memory) {
    bytes = piece.bytes;
    return piece.memory;
  }
  void* const memory = ::operator new(bytes, kAlignment);
  advise_huge_pages(memory, static_cast<int64_t>(bytes));
  return memory;
}

void give_back_scratch(void* memory, size_t bytes) {
  kept().keep({memory, bytes});
}

}  // namespace roiops::cpu
