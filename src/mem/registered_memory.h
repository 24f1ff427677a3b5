// RegisteredMemory: what transfers go to again and again, so that a queue can keep it pinned, or
// mapped for its device.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "mem/pinner.h"

namespace kvpool::mem {

// Threads: any. A queue looks at version() before its transfers and takes pieces() when it changed.
class RegisteredMemory {
 public:
  static constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 30;  // io_uring takes no more
  static constexpr std::uint32_t kMaxPieces = 1024;

  // A part of what was added, at a place of its own in tables such as io_uring's.
  struct Piece {
    std::span<std::byte> bytes;
    std::uint32_t place = 0;   // below kMaxPieces; free for others once removed
    std::uint64_t serial = 0;  // never given twice
  };

  // Pins what is added from now on, too. Before the first Add; the pages stay then, as by FixPages.
  void PinBy(std::shared_ptr<Pinner> pinner);

  // False when there are too many pieces already: transfers work without, at some cost.
  bool Add(std::span<std::byte> bytes);
  // What Add took, when no transfer uses it any more and before the memory goes away.
  void Remove(std::span<std::byte> bytes);

  // There are other pages behind `bytes` now: queues take the pieces around them anew, under other
  // serials.
  void Moved(std::span<std::byte> bytes);
  // Somebody needs the pages of every piece to stay, as a drive's map of memory does that transfers
  // of others are under way in. Once said, for good.
  void FixPages() const { fixed_.store(true, std::memory_order_relaxed); }
  // False: `bytes` belong to a piece whose pages have to stay.
  bool MayMove(std::span<const std::byte> bytes) const;

  std::uint64_t version() const { return version_.load(std::memory_order_acquire); }
  std::vector<Piece> pieces() const;  // by place

 private:
  static bool Overlap(const Piece& piece, std::span<const std::byte> bytes) {
    return bytes.data() < piece.bytes.data() + piece.bytes.size() &&
           piece.bytes.data() < bytes.data() + bytes.size();
  }

  std::vector<std::shared_ptr<Pinner>> pinners_;
  mutable Mutex mutex_;
  std::vector<Piece> places_ KVPOOL_GUARDED_BY(mutex_);  // by place; no bytes: free
  std::uint64_t next_serial_ KVPOOL_GUARDED_BY(mutex_) = 1;
  std::atomic<std::uint64_t> version_{0};
  mutable std::atomic<bool> fixed_{false};
};

}  // namespace kvpool::mem
