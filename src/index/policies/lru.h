// Plain LRU.
#pragma once

#include <set>
#include <utility>

#include "index/chunked_vector.h"
#include "index/eviction_policy.h"

namespace kvpool::index {

// Evicts the block whose last reference is longest ago, exactly, pins or not: a parked block keeps
// its place in that order. 24 bytes a block.
class LruPolicy final : public EvictionPolicy {
 public:
  void Insert(EntryId entry, const BlockTraits& block) override;
  void Reference(EntryId entry) override;
  void Erase(EntryId entry, Leaving leaving) override;
  EntryId Victim() override;
  void Park(EntryId entry) override;
  void Unpark(EntryId entry) override;

 private:
  enum class Place : std::uint8_t { kList, kParked, kReturned };
  struct Node {
    EntryId newer = kNoEntry;
    EntryId older = kNoEntry;
    std::uint64_t last_use = 0;
    Place place = Place::kList;
  };

  void PushNewest(EntryId entry);
  void Remove(EntryId entry);

  ChunkedVector<Node> nodes_;
  EntryId newest_ = kNoEntry;
  EntryId oldest_ = kNoEntry;
  std::uint64_t now_ = 0;
  // Unparked and not referenced since.
  std::set<std::pair<std::uint64_t, EntryId>> returned_;
};

}  // namespace kvpool::index
