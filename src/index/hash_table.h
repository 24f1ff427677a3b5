// HashTable: from a 64-bit hash to an EntryId, in segments that split one at a time (extendible
// hashing: Fagin et al., 1979), so that growth costs one segment's copy and never a pause.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/check.h"
#include "index/eviction_policy.h"

namespace kvpool::index {

// Keeps 8 bytes a slot: the low half of the hash as a tag, and the id. The high half picks the
// segment. Equal tags are told apart by the caller's `is_it`.
// Threads: const methods may run together; all others alone.
class HashTable {
 public:
  HashTable();

  // Brings the slot's cache line near. Find of the same hash then waits less.
  void Prefetch(std::uint64_t hash) const {
    __builtin_prefetch(&SegmentOf(hash).slots[HomeOf(static_cast<std::uint32_t>(hash))]);
  }

  // The first id under `hash` for which is_it(id) holds, or kNoEntry.
  template <class IsIt>
  EntryId Find(std::uint64_t hash, IsIt&& is_it) const {
    const Segment& segment = SegmentOf(hash);
    const auto tag = static_cast<std::uint32_t>(hash);
    for (std::size_t i = HomeOf(tag);; i = Next(i)) {
      const Slot slot = segment.slots[i];
      if (slot.id == kNoEntry) return kNoEntry;
      if (slot.tag == tag && is_it(slot.id)) return slot.id;
    }
  }

  // hash_of(id) gives the hash under which a present id was inserted.
  template <class HashOf>
  void Insert(std::uint64_t hash, EntryId id, HashOf&& hash_of) {
    while (SegmentOf(hash).used >= kMaxUsed) Split(IndexOf(hash), hash_of);
    Place(SegmentOf(hash), {static_cast<std::uint32_t>(hash), id});
  }

  // `id` is present under `hash`.
  void Erase(std::uint64_t hash, EntryId id);

  static constexpr std::size_t kSlots = 1024;
  static constexpr std::size_t kMaxUsed = kSlots * 7 / 8;

 private:
  struct Slot {
    std::uint32_t tag = 0;
    EntryId id = kNoEntry;
  };
  struct Segment {
    std::uint32_t depth = 0;  // how many high bits of the hash its entries share
    std::uint32_t used = 0;
    std::array<Slot, kSlots> slots;
  };

  static std::size_t HomeOf(std::uint32_t tag) { return tag % kSlots; }
  static std::size_t Next(std::size_t i) { return (i + 1) % kSlots; }
  static void Place(Segment& segment, Slot slot);

  std::size_t IndexOf(std::uint64_t hash) const { return depth_ == 0 ? 0 : hash >> (64 - depth_); }
  Segment& SegmentOf(std::uint64_t hash) const { return *directory_[IndexOf(hash)]; }

  // Empties directory_[index], which from now on has the lower half of its hashes; returns the new
  // segment of the upper half.
  Segment& AddSibling(std::size_t index);

  template <class HashOf>
  void Split(std::size_t index, HashOf&& hash_of) {
    Segment& old = *directory_[index];
    const auto slots = old.slots;
    Segment& upper = AddSibling(index);
    for (const Slot slot : slots) {
      if (slot.id == kNoEntry) continue;
      const bool up = hash_of(slot.id) >> (64 - old.depth) & 1;
      Place(up ? upper : old, slot);
    }
  }

  std::uint32_t depth_ = 0;          // bits that index the directory
  std::vector<Segment*> directory_;  // 2^depth_ of them
  std::vector<std::unique_ptr<Segment>> segments_;
};

}  // namespace kvpool::index
