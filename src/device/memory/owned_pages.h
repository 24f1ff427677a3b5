// OwnedPages: which pages lie behind each slab of a memory device, so that another process can map
// what one owner has there, and nothing else.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/limits.h"
#include "base/mutex.h"
#include "base/shared_limit.h"
#include "mem/lent_memory.h"

namespace kvpool::device {

// A slab's bytes lie in the common memory at first, then in the memory of whoever wrote there last
// (Io::owner). One that changes hands loses its pages and gets new ones: no byte of the former
// owner is left, and every owner's memory has pages behind its own slabs only. An owner that cannot
// have memory of its own (there are too many) shares the common memory, which nobody else can map.
// Threads: any; nobody reads or writes the bytes of another owner in a slab that is written to.
class OwnedPages {
 public:
  struct Options {
    int numa_node = -1;
    bool lock = true;
    std::size_t most_owners = 0;  // with memory of their own
    // Of those of all devices, as many as there are for the party of an owner. Null: any number.
    std::shared_ptr<SharedLimit> lent_memories = {};
  };
  // `common`: all pages there, private, on no reserved hugepages. Outlives this.
  OwnedPages(std::span<std::byte> common, const Options& options);

  // Contiguous up to the end of the slab.
  std::byte* At(std::uint64_t offset) const {
    return bases_[offset / kSlabBytes].load(std::memory_order_acquire) + offset;
  }
  // Before `owner`, not 0, writes to [offset, + bytes). False: there is no memory for it.
  bool Own(std::uint64_t offset, std::uint64_t bytes, std::uint32_t owner);
  // The memory of an owner, with each byte at its offset on the device. Null: it can have none.
  const mem::LentMemory* Of(std::uint32_t owner);
  // Gives back pages that borrowers made in an owner's memory by reading behind others' slabs.
  void Trim(std::uint32_t owner);
  // The owner's slabs are nobody's, and empty; its memory goes as soon as no borrower has it.
  // Nobody reads or writes there. Looks at every slab.
  void Forget(std::uint32_t owner);

 private:
  struct Lent {
    std::unique_ptr<mem::LentMemory> memory;
    SharedLimit::Taken place;
  };
  bool Move(std::uint64_t slab, std::uint32_t owner);
  void Empty(std::uint64_t slab);
  Mutex& MutexOf(std::uint64_t slab) { return mutexes_[slab % mutexes_.size()]; }

  const std::span<std::byte> common_;
  const Options options_;
  std::vector<std::atomic<std::uint32_t>> owners_;  // by slab; 0: nobody yet
  std::vector<std::atomic<std::byte*>> bases_;      // by slab: where offset 0 would lie
  std::array<Mutex, 16> mutexes_;                   // of a slab's change of hands
  Mutex lent_mutex_;
  std::map<std::uint32_t, Lent> lent_ KVPOOL_GUARDED_BY(lent_mutex_);
};

}  // namespace kvpool::device
