// SpdkMemory: which memory a drive can be given as it is, and buffers for the rest.
#pragma once

#include <sys/uio.h>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "mem/registered_memory.h"

namespace kvpool::device {

// What a transport asks of the memory that it transfers to and from.
enum class MemoryRule : std::uint8_t {
  kAny,         // TCP: the processor copies
  kRegistered,  // PCIe, RDMA: known to SPDK, which maps and pins it
};

// One queue's. Threads: one at a time; Sync and Reaches: the queue's owner.
class SpdkMemory {
 public:
  // `registered`: may be nullptr; outlives this.
  SpdkMemory(MemoryRule rule, const mem::RegisteredMemory* registered);
  ~SpdkMemory();
  SpdkMemory(const SpdkMemory&) = delete;
  SpdkMemory& operator=(const SpdkMemory&) = delete;

  // Takes in what was added and removed. Cheap when nothing was.
  void Sync() {
    if (registered_ != nullptr && registered_->version() != version_) Update();
  }

  bool Reaches(std::span<const iovec> segments) const;

  // A buffer of kBounceBytes, or nullptr when all are out, or there is no memory for another one.
  static constexpr std::size_t kBounceBytes = std::size_t{1} << 20;
  std::byte* TakeBuffer();
  void PutBuffer(std::byte* buffer) { idle_.push_back(buffer); }

 private:
  using Piece = mem::RegisteredMemory::Piece;
  void Update();
  void Arrange();

  const mem::RegisteredMemory* const registered_;
  const bool needed_;
  std::uint64_t version_ = 0;
  std::vector<Piece> used_;                  // mapped for drives, for this queue and others
  std::vector<std::span<std::byte>> spans_;  // of used_: whole pages of 2 MiB, ascending, joined
  std::vector<std::byte*> buffers_;
  std::vector<std::byte*> idle_;
};

}  // namespace kvpool::device
