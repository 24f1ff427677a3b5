// EvictionPolicy: which block goes next. docs/eviction.md compares the policies.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "kvpool/result.h"

namespace kvpool::index {

using EntryId = std::uint32_t;
inline constexpr EntryId kNoEntry = 0xffffffff;

// What a policy may know of a block.
struct BlockTraits {
  std::uint64_t hash = 0;     // of space and key: the same again when the block comes back
  std::uint64_t ordinal = 0;  // position in its chain
  std::uint32_t space = 0;
  EntryId parent = kNoEntry;  // the preceding block, if present
};

enum class Leaving : std::uint8_t {
  kEvicted,  // for room: it may be remembered
  kDropped,  // its bytes are void
};

// Told of every block's life by the Index; keeps its state in dense vectors by EntryId, which here
// is the Seat of a block in its EvictionGroup. An id is free for another block after Erase. No call
// scans; all are amortised O(log n) or better. Threads: one at a time.
class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;

  virtual void Insert(EntryId entry, const BlockTraits& block) = 0;
  virtual void Reference(EntryId entry) = 0;
  virtual void Erase(EntryId entry, Leaving leaving) = 0;

  // The block that should go next, kNoEntry when all are parked. Does not remove it.
  virtual EntryId Victim() = 0;

  // The victim is pinned: it is not offered again until Unpark.
  virtual void Park(EntryId entry) = 0;
  virtual void Unpark(EntryId entry) = 0;

  // The chain changed: `entry` lost its parent (which leaves), or found it again.
  virtual void Relink(EntryId entry, EntryId parent) {
    (void)entry;
    (void)parent;
  }
};

// The names that MakeEvictionPolicy knows: "default", "lru", ...
std::vector<std::string_view> EvictionPolicyNames();

// kInvalid for an unknown name; the message lists the known ones.
Result<std::unique_ptr<EvictionPolicy>> MakeEvictionPolicy(std::string_view name);

}  // namespace kvpool::index
