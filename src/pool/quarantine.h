// Quarantine: the slots of a device that a late write may still reach.
#pragma once

#include <atomic>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"

namespace kvpool::pool {

// A slot in here is not given to another block before the device has let go of it. Threads: any.
class Quarantine {
 public:
  // By the lane, before anybody is told that the write is over.
  void Hold(std::uint64_t offset);
  // By the lane: the device has let go. Of a device that is gone: nothing.
  void Release(std::uint64_t offset);

  // By the store, which wants to free the slot. True: it stays taken until TakeFree gives it.
  bool Keeps(std::uint64_t offset);
  // Appends the slots that may be freed now.
  void TakeFree(std::vector<std::uint64_t>& offsets);
  // Slots that the store has given up and that are still held.
  std::vector<std::uint64_t> GivenUp() const;
  // Another device stands in the place of the one that these slots are of.
  void StartAnew();
  bool HasFree() const { return has_free_.load(std::memory_order_acquire); }

 private:
  std::atomic<std::uint32_t> held_{0};
  std::atomic<bool> has_free_{false};
  mutable Mutex mutex_;
  std::unordered_map<std::uint64_t, bool> slots_
      KVPOOL_GUARDED_BY(mutex_);  // given up by the store
  std::vector<std::uint64_t> free_ KVPOOL_GUARDED_BY(mutex_);
};

}  // namespace kvpool::pool
