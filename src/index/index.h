// Index: which blocks are present, how they chain, what goes next. No I/O, no clock.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/limits.h"
#include "index/chunked_vector.h"
#include "index/eviction_group.h"
#include "index/eviction_policy.h"
#include "index/hash_table.h"
#include "kvpool/key.h"
#include "layout/extent.h"

namespace kvpool::index {

enum class EntryState : std::uint8_t {
  kFree,     // of the index's own: the id names no block
  kWriting,  // reserved by a put: nobody sees it
  kVisible,
  kDoomed,  // dropped or evicted while pinned: nobody sees it; goes with the last pin
};

struct NewEntry {
  std::uint32_t space = 0;
  std::uint16_t tenant = 0;  // the same for all blocks of a space
  Key key;
  layout::BlockShape shape = {};
  std::uint64_t generation = 0;
  std::uint64_t ordinal = 0;  // position in its chain
  EntryId parent = kNoEntry;  // the preceding block if present (any state but kDoomed)
};

struct EntryView {
  std::uint32_t space = 0;
  std::uint16_t tenant = 0;
  Key key;  // valid until Erase or AddCopies
  layout::BlockShape shape = {};
  std::uint64_t generation = 0;
  std::uint64_t ordinal = 0;
  EntryId parent = kNoEntry;  // kNoEntry also where the parent has gone
  EntryState state = EntryState::kVisible;
  std::span<layout::UnitRecord> units;
  std::span<layout::UnitRecord> copies;  // second places, by unit; empty: there never was one
};

// Told which keys can be found, as that changes.
class IndexWatcher {
 public:
  virtual ~IndexWatcher() = default;
  virtual void Appeared(std::uint32_t space, Key key) = 0;
  virtual void Vanished(std::uint32_t space, Key key) = 0;
};

// At most 200 bytes a key beyond the key's own bytes, plus 16 a unit.
// Threads: const methods may run together; all others alone (the pool's lock).
class Index {
 public:
  explicit Index(std::unique_ptr<EvictionPolicy> policy);  // one tenant
  explicit Index(std::vector<EvictionGroup> tenants);      // by number
  ~Index();
  Index(const Index&) = delete;
  Index& operator=(const Index&) = delete;

  // From now on; it outlives the index.
  void Watch(IndexWatcher* watcher) { watcher_ = watcher; }

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
  // Room for a second place of each unit: View(entry).copies, all nowhere at first. 16 bytes a
  // unit, kept until Erase. Once an entry.
  void AddCopies(EntryId entry);
  // Tells the eviction policy that a request used the block. Call it in chain order. `parent`, if
  // known, is the preceding block (as in NewEntry); an entry that has lost its parent is chained
  // to it again.
  void Reference(EntryId entry, EntryId parent = kNoEntry);
  void Pin(EntryId entry);
  // The id still names the block of that generation, in any state.
  bool IsLive(EntryId entry, std::uint64_t generation) const {
    return entries_[entry].state != EntryState::kFree && entries_[entry].generation == generation;
  }
  std::uint32_t pins(EntryId entry) const { return entries_[entry].pins; }
  // True when the block was used (Reference) since the last call, or since it came.
  bool TakeReferenced(EntryId entry);
  // True when the entry was doomed and this was its last pin: free its units, then Erase it.
  bool Unpin(EntryId entry);
  // Nobody finds it from now on, and the blocks chained to it have lost their parent. True when it
  // has no pins: free its units, then Erase it. An entry is doomed once.
  bool Doom(EntryId entry);
  // The entry is doomed and has no pins.
  void Erase(EntryId entry);

  // The block that should go next: kVisible, no pins. kNoEntry when there is none. Amortised: no
  // scan, but a look at each tenant. The caller dooms it before it calls any other non-const
  // method, or the policy takes the block for dropped, not evicted.
  EntryId Victim();
  // The same among the blocks of one tenant.
  EntryId Victim(std::uint16_t tenant);

  // What a tenant may hold beside others from now on, see EvictionGroup.
  void SetWeight(std::uint16_t tenant, std::uint32_t weight) { tenants_[tenant].SetWeight(weight); }

  // --- bookkeeping ---
  std::size_t size() const { return visible_; }
  // What the units of all blocks with a pin occupy: no eviction can free it.
  std::uint64_t pinned_slot_bytes() const { return pinned_slot_bytes_; }
  // The same of one tenant, and of all its blocks, from Reserve until Erase. A unit with a second
  // place counts once.
  std::uint64_t pinned_slot_bytes(std::uint16_t tenant) const {
    return tenants_[tenant].pinned_slot_bytes;
  }
  std::uint64_t slot_bytes(std::uint16_t tenant) const { return tenants_[tenant].slot_bytes; }
  // Calls visit(EntryId) for every kVisible entry, in no particular order.
  template <class Visit>
  void ForEach(Visit&& visit) const {
    for (EntryId entry = 0; entry < end_; ++entry) {
      if (entries_[entry].state == EntryState::kVisible) visit(entry);
    }
  }
  // The same for the next `count` ids from `from` on, so that a walk can be made in short steps.
  // Returns where the next one starts; kNoEntry: nowhere.
  template <class Visit>
  EntryId ForSome(EntryId from, EntryId count, Visit&& visit) const {
    EntryId entry = from;
    for (; entry < end_ && entry - from < count; ++entry) {
      if (entries_[entry].state == EntryState::kVisible) visit(entry);
    }
    return entry < end_ ? entry : kNoEntry;
  }

 private:
  // 80 bytes; what a lookup reads comes first and never straddles a cache line.
  struct alignas(16) Entry {
    std::byte* bytes = nullptr;  // the key, padding to 8, the unit records, perhaps the copies
    std::uint32_t space = 0;
    std::uint16_t key_bytes = 0;
    EntryState state = EntryState::kFree;
    bool parked : 1 = false;  // the policy does not offer it until it is unpinned
    bool has_copies : 1 = false;
    bool referenced : 1 = false;
    std::uint64_t hash = 0;
    std::uint64_t generation = 0;
    std::uint64_t ordinal = 0;
    std::uint64_t block_bytes = 0;
    std::uint32_t pins = 0;
    EntryId parent = kNoEntry;
    EntryId first_child = kNoEntry;
    EntryId next_sibling = kNoEntry;  // of a free entry: the next free one
    EntryId previous_sibling = kNoEntry;
    std::uint16_t units = 0;
    std::uint16_t unit_pages = 0;  // unit_bytes, slot_bytes in steps of kIoAlignment
    std::uint16_t slot_pages = 0;
    std::uint16_t tenant = 0;
    Seat seat = kNoEntry;  // in the tenant's group
  };
  static_assert(sizeof(Entry) == 80);

  static std::uint64_t SlotBytes(const Entry& entry) {
    return std::uint64_t{entry.units} * entry.slot_pages * kIoAlignment;
  }
  static std::uint64_t HashOf(std::uint32_t space, Key key);
  static Key KeyOf(const Entry& entry);
  static layout::UnitRecord* UnitsOf(const Entry& entry);
  bool Is(EntryId entry, std::uint32_t space, Key key) const;
  EntryId FindHashed(std::uint64_t hash, std::uint32_t space, Key key) const;
  // Finds up to kBatch keys at once, so that their cache misses overlap.
  static constexpr std::size_t kBatch = 32;
  void FindVisible(std::uint32_t space, std::span<const Key> keys, bool* present) const;

  EntryId TakeId();
  void Link(EntryId entry, EntryId parent);
  void Unlink(EntryId entry);
  void OrphanChildren(EntryId entry);

  EvictionGroup& GroupOf(const Entry& entry) { return tenants_[entry.tenant]; }
  Seat SeatOf(EntryId entry) const { return entry == kNoEntry ? kNoEntry : entries_[entry].seat; }
  EntryId Candidate(EvictionGroup& group);

  std::vector<EvictionGroup> tenants_;
  IndexWatcher* watcher_ = nullptr;
  HashTable table_;  // every entry that is kWriting or kVisible
  ChunkedVector<Entry> entries_;
  EntryId end_ = 0;  // ids below it have been in use
  EntryId first_free_ = kNoEntry;
  EntryId last_victim_ = kNoEntry;
  std::uint64_t now_ = 0;  // blocks that were stored or used so far
  std::size_t visible_ = 0;
  std::uint64_t pinned_slot_bytes_ = 0;
};

}  // namespace kvpool::index
