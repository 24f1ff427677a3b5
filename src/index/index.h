// Index: which blocks are present, how they chain, what goes next. No I/O, no clock.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "kvpool/key.h"
#include "layout/extent.h"

namespace kvpool::index {

using EntryId = std::uint32_t;
inline constexpr EntryId kNoEntry = 0xffffffff;

enum class EntryState : std::uint8_t {
  kWriting,  // reserved by a put: nobody sees it
  kVisible,
  kDoomed,   // dropped or evicted while pinned: nobody sees it; goes with the last pin
};

struct NewEntry {
  std::uint32_t space = 0;
  Key key;
  layout::BlockShape shape;
  std::uint64_t generation = 0;
  std::uint64_t ordinal = 0;     // position in its chain
  EntryId parent = kNoEntry;     // the preceding block if present (any state but kDoomed)
};

struct EntryView {
  std::uint32_t space = 0;
  Key key;                       // valid until Erase
  layout::BlockShape shape;
  std::uint64_t generation = 0;
  std::uint64_t ordinal = 0;
  EntryId parent = kNoEntry;
  EntryState state = EntryState::kVisible;
  std::span<layout::UnitRecord> units;
};

class EvictionPolicy;

// At most 200 bytes a key beyond the key's own bytes, plus 16 a unit.
// Threads: const methods may run together; all others alone (the pool's lock).
class Index {
 public:
  explicit Index(std::unique_ptr<EvictionPolicy> policy);
  ~Index();

  // --- looking; no side effects, entries that are kVisible only ---
  std::size_t Match(std::uint32_t space, std::span<const Key> keys) const;
  void Contains(std::uint32_t space, std::span<const Key> keys, std::span<bool> present) const;
  // Any state but kDoomed.
  EntryId Find(std::uint32_t space, Key key) const;
  EntryView View(EntryId entry) const;

  // --- life of a block ---
  // Makes an entry in state kWriting with one pin, the writer's. The key must not be present in
  // any state but kDoomed. Its units are zero until the caller fills View(entry).units.
  EntryId Reserve(const NewEntry& entry);
  // kWriting -> kVisible. The pin stays until Unpin.
  void Publish(EntryId entry);
  // Tells the eviction policy that a request used the block.
  void Reference(EntryId entry);
  void Pin(EntryId entry);
  // True when the entry was doomed and this was its last pin: free its units, then Erase it.
  bool Unpin(EntryId entry);
  // Nobody finds it from now on. True when it has no pins: free its units, then Erase it.
  bool Doom(EntryId entry);
  void Erase(EntryId entry);

  // The block that should go next: kVisible, no pins. kNoEntry when there is none. Amortised: no
  // scan. The caller dooms it.
  EntryId Victim();

  // --- bookkeeping ---
  std::size_t size() const;  // visible
  // Calls visit(EntryId) for every kVisible entry, in no particular order.
  template <class Visit>
  void ForEach(Visit&& visit) const;
};

}  // namespace kvpool::index
