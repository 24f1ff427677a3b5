#include "index/index.h"

#include <algorithm>
#include <array>
#include <bitset>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "base/check.h"
#include "base/limits.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace kvpool::index {
namespace {

std::size_t UnitsOffset(std::size_t key_bytes) { return (key_bytes + 7) / 8 * 8; }

std::uint16_t PagesOf(std::uint32_t bytes) {
  KVPOOL_CHECK(bytes % kIoAlignment == 0 && bytes <= kMaxUnitBytes);
  return static_cast<std::uint16_t>(bytes / kIoAlignment);
}

}  // namespace

Index::Index(std::unique_ptr<EvictionPolicy> policy) { tenants_.emplace_back(std::move(policy)); }

Index::Index(std::vector<EvictionGroup> tenants) : tenants_(std::move(tenants)) {
  KVPOOL_CHECK(!tenants_.empty() && tenants_.size() <= kMaxTenants + 1);
}

Index::~Index() {
  for (EntryId entry = 0; entry < end_; ++entry) ::operator delete(entries_[entry].bytes);
}

std::uint64_t Index::HashOf(std::uint32_t space, Key key) {
  // The space goes in afterwards: XXH3 with a seed is much dearer for keys over 240 bytes.
  const std::uint64_t hash = XXH3_64bits(key.data(), key.size());
  return XXH64_avalanche(hash + space * 0x9e3779b97f4a7c15ULL);
}

Key Index::KeyOf(const Entry& entry) {
  return {reinterpret_cast<const char*>(entry.bytes), entry.key_bytes};
}

layout::UnitRecord* Index::UnitsOf(const Entry& entry) {
  return reinterpret_cast<layout::UnitRecord*>(entry.bytes + UnitsOffset(entry.key_bytes));
}

bool Index::Is(EntryId id, std::uint32_t space, Key key) const {
  const Entry& entry = entries_[id];
  return entry.space == space && KeyOf(entry) == key;
}

EntryId Index::FindHashed(std::uint64_t hash, std::uint32_t space, Key key) const {
  return table_.Find(hash, [&](EntryId id) { return Is(id, space, key); });
}

EntryId Index::Find(std::uint32_t space, Key key) const {
  return FindHashed(HashOf(space, key), space, key);
}

void Index::FindVisible(std::uint32_t space, std::span<const Key> keys, bool* present) const {
  std::array<std::uint64_t, kBatch> hashes;
  std::array<EntryId, kBatch> found;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    hashes[i] = HashOf(space, keys[i]);
    table_.Prefetch(hashes[i]);
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    found[i] = table_.Find(hashes[i], [](EntryId) { return true; });
    if (found[i] != kNoEntry) __builtin_prefetch(entries_.Address(found[i]));
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (found[i] != kNoEntry) __builtin_prefetch(entries_[found[i]].bytes);
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (found[i] != kNoEntry && !Is(found[i], space, keys[i])) {
      found[i] = FindHashed(hashes[i], space, keys[i]);  // another key with the same tag
    }
    present[i] = found[i] != kNoEntry && entries_[found[i]].state == EntryState::kVisible;
  }
}

std::size_t Index::Match(std::uint32_t space, std::span<const Key> keys) const {
  std::array<bool, kBatch> present;
  std::size_t batch = kBatch / 8;  // most misses come early: the first look ahead is short
  for (std::size_t begin = 0; begin < keys.size();) {
    const auto some = keys.subspan(begin, std::min(batch, keys.size() - begin));
    FindVisible(space, some, present.data());
    const auto first_absent = std::find(present.begin(), present.begin() + some.size(), false);
    begin += static_cast<std::size_t>(first_absent - present.begin());
    if (first_absent != present.begin() + some.size()) return begin;
    batch = kBatch;
  }
  return keys.size();
}

void Index::Contains(std::uint32_t space, std::span<const Key> keys,
                     std::span<bool> present) const {
  KVPOOL_CHECK(present.size() == keys.size());
  for (std::size_t begin = 0; begin < keys.size(); begin += kBatch) {
    const auto some = keys.subspan(begin, std::min(kBatch, keys.size() - begin));
    FindVisible(space, some, present.data() + begin);
  }
}

EntryView Index::View(EntryId id) const {
  const Entry& entry = entries_[id];
  KVPOOL_CHECK(entry.state != EntryState::kFree);
  return {.space = entry.space,
          .tenant = entry.tenant,
          .key = KeyOf(entry),
          .shape = {.block_bytes = entry.block_bytes,
                    .units = entry.units,
                    .unit_bytes = entry.unit_pages * kIoAlignment,
                    .slot_bytes = entry.slot_pages * kIoAlignment},
          .generation = entry.generation,
          .ordinal = entry.ordinal,
          .parent = entry.parent,
          .state = entry.state,
          .units = {UnitsOf(entry), entry.units},
          .copies = {UnitsOf(entry) + entry.units, entry.has_copies ? entry.units : 0u}};
}

EntryId Index::TakeId() {
  if (first_free_ != kNoEntry) {
    const EntryId id = first_free_;
    first_free_ = entries_[id].next_sibling;
    return id;
  }
  KVPOOL_CHECK(end_ != kNoEntry);
  entries_.Cover(std::size_t{end_} + 1);
  return end_++;
}

EntryId Index::Reserve(const NewEntry& block) {
  KVPOOL_CHECK(!block.key.empty() && block.key.size() <= kMaxKeyBytes);
  KVPOOL_CHECK(block.shape.units <= kMaxUnitsPerBlock && block.tenant < tenants_.size());
  last_victim_ = kNoEntry;
  const std::uint64_t hash = HashOf(block.space, block.key);
  KVPOOL_CHECK(FindHashed(hash, block.space, block.key) == kNoEntry);

  const EntryId id = TakeId();
  const std::size_t units_offset = UnitsOffset(block.key.size());
  Entry& entry = entries_[id];
  entry = Entry{};
  entry.bytes = static_cast<std::byte*>(
      ::operator new(units_offset + block.shape.units * sizeof(layout::UnitRecord)));
  std::memcpy(entry.bytes, block.key.data(), block.key.size());
  entry.space = block.space;
  entry.key_bytes = static_cast<std::uint16_t>(block.key.size());
  entry.state = EntryState::kWriting;
  entry.hash = hash;
  entry.generation = block.generation;
  entry.ordinal = block.ordinal;
  entry.block_bytes = block.shape.block_bytes;
  entry.pins = 1;
  entry.units = static_cast<std::uint16_t>(block.shape.units);
  entry.unit_pages = PagesOf(block.shape.unit_bytes);
  entry.slot_pages = PagesOf(block.shape.slot_bytes);
  entry.tenant = block.tenant;
  EvictionGroup& group = GroupOf(entry);
  group.slot_bytes += SlotBytes(entry);
  group.pinned_slot_bytes += SlotBytes(entry);
  pinned_slot_bytes_ += SlotBytes(entry);
  std::uninitialized_value_construct_n(UnitsOf(entry), block.shape.units);

  table_.Insert(hash, id, [this](EntryId other) { return entries_[other].hash; });
  if (block.parent != kNoEntry) Link(id, block.parent);
  entry.seat = group.Insert(id,
                            {.hash = hash,
                             .ordinal = block.ordinal,
                             .space = block.space,
                             .parent = SeatOf(block.parent)},
                            ++now_);
  return id;
}

void Index::Publish(EntryId id) {
  KVPOOL_CHECK(entries_[id].state == EntryState::kWriting);
  entries_[id].state = EntryState::kVisible;
  ++visible_;
  if (watcher_ != nullptr) watcher_->Appeared(entries_[id].space, KeyOf(entries_[id]));
}

void Index::AddCopies(EntryId id) {
  Entry& entry = entries_[id];
  KVPOOL_CHECK(entry.state != EntryState::kFree && !entry.has_copies);
  const std::size_t bytes = UnitsOffset(entry.key_bytes) + entry.units * sizeof(layout::UnitRecord);
  auto* larger =
      static_cast<std::byte*>(::operator new(bytes + entry.units * sizeof(layout::UnitRecord)));
  std::memcpy(larger, entry.bytes, bytes);
  ::operator delete(std::exchange(entry.bytes, larger));
  entry.has_copies = true;
  std::uninitialized_fill_n(UnitsOf(entry) + entry.units, entry.units,
                            layout::UnitRecord::Nowhere());
}

bool Index::TakeReferenced(EntryId id) {
  const bool referenced = entries_[id].referenced;
  entries_[id].referenced = false;
  return referenced;
}

void Index::Reference(EntryId id, EntryId parent) {
  last_victim_ = kNoEntry;
  Entry& entry = entries_[id];
  KVPOOL_CHECK(entry.state == EntryState::kVisible || entry.state == EntryState::kWriting);
  // Later ordinals only: a chain never closes into a ring, whatever a caller claims.
  if (parent != kNoEntry && entry.parent == kNoEntry && entries_[parent].ordinal < entry.ordinal) {
    Link(id, parent);
    GroupOf(entry).Relink(entry.seat, SeatOf(parent));
  }
  entry.referenced = true;
  GroupOf(entry).Reference(entry.seat, ++now_);
}

void Index::Pin(EntryId id) {
  Entry& entry = entries_[id];
  KVPOOL_CHECK(entry.state != EntryState::kFree);
  if (entry.pins++ > 0) return;
  pinned_slot_bytes_ += SlotBytes(entry);
  GroupOf(entry).pinned_slot_bytes += SlotBytes(entry);
}

bool Index::Unpin(EntryId id) {
  Entry& entry = entries_[id];
  KVPOOL_CHECK(entry.pins > 0);
  if (--entry.pins > 0) return false;
  pinned_slot_bytes_ -= SlotBytes(entry);
  GroupOf(entry).pinned_slot_bytes -= SlotBytes(entry);
  if (entry.state == EntryState::kDoomed) return true;
  KVPOOL_CHECK(entry.state == EntryState::kVisible);
  last_victim_ = kNoEntry;
  if (entry.parked) GroupOf(entry).Unpark(entry.seat);
  entry.parked = false;
  return false;
}

bool Index::Doom(EntryId id) {
  Entry& entry = entries_[id];
  KVPOOL_CHECK(entry.state == EntryState::kVisible || entry.state == EntryState::kWriting);
  if (entry.state == EntryState::kVisible) {
    --visible_;
    if (watcher_ != nullptr) watcher_->Vanished(entry.space, KeyOf(entry));
  }
  table_.Erase(entry.hash, id);
  entry.state = EntryState::kDoomed;
  entry.parked = false;
  OrphanChildren(id);
  GroupOf(entry).Erase(entry.seat, id == last_victim_ ? Leaving::kEvicted : Leaving::kDropped);
  if (entry.parent != kNoEntry) Unlink(id);
  last_victim_ = kNoEntry;
  return entry.pins == 0;
}

void Index::Erase(EntryId id) {
  Entry& entry = entries_[id];
  KVPOOL_CHECK(entry.state == EntryState::kDoomed && entry.pins == 0);
  ::operator delete(entry.bytes);
  GroupOf(entry).slot_bytes -= SlotBytes(entry);
  GroupOf(entry).Free(entry.seat);
  entry = Entry{};
  entry.next_sibling = first_free_;
  first_free_ = id;
}

EntryId Index::Candidate(EvictionGroup& group) {
  for (;;) {
    const EntryId id = group.Candidate();
    if (id == kNoEntry) return kNoEntry;
    Entry& entry = entries_[id];
    if (entry.pins == 0) {
      KVPOOL_CHECK(entry.state == EntryState::kVisible);
      return id;
    }
    // Amortised: each pin parks its block at most once.
    group.Park(entry.seat);
    entry.parked = true;
  }
}

EntryId Index::Victim() {
  if (tenants_.size() == 1) return Victim(0);
  std::bitset<kMaxTenants + 1> looked;
  for (std::size_t looks = 0; looks < tenants_.size(); ++looks) {
    std::size_t most = 0;
    double pressure = -1;
    for (std::size_t i = 0; i < tenants_.size(); ++i) {
      if (looked[i] || tenants_[i].Pressure(now_) <= pressure) continue;
      most = i;
      pressure = tenants_[i].Pressure(now_);
    }
    looked[most] = true;
    last_victim_ = Candidate(tenants_[most]);
    if (last_victim_ != kNoEntry) break;  // else all of it is pinned
  }
  return last_victim_;
}

EntryId Index::Victim(std::uint16_t tenant) { return last_victim_ = Candidate(tenants_[tenant]); }

void Index::Link(EntryId id, EntryId parent) {
  Entry& entry = entries_[id];
  Entry& above = entries_[parent];
  KVPOOL_CHECK(above.state == EntryState::kVisible || above.state == EntryState::kWriting);
  KVPOOL_CHECK(above.tenant == entry.tenant);
  entry.parent = parent;
  entry.next_sibling = above.first_child;
  entry.previous_sibling = kNoEntry;
  if (above.first_child != kNoEntry) entries_[above.first_child].previous_sibling = id;
  above.first_child = id;
}

void Index::Unlink(EntryId id) {
  Entry& entry = entries_[id];
  if (entry.previous_sibling != kNoEntry) {
    entries_[entry.previous_sibling].next_sibling = entry.next_sibling;
  } else {
    entries_[entry.parent].first_child = entry.next_sibling;
  }
  if (entry.next_sibling != kNoEntry) {
    entries_[entry.next_sibling].previous_sibling = entry.previous_sibling;
  }
  entry.parent = entry.next_sibling = entry.previous_sibling = kNoEntry;
}

void Index::OrphanChildren(EntryId id) {
  for (EntryId child = entries_[id].first_child; child != kNoEntry;) {
    Entry& entry = entries_[child];
    const EntryId next = entry.next_sibling;
    entry.parent = entry.next_sibling = entry.previous_sibling = kNoEntry;
    GroupOf(entry).Relink(entry.seat, kNoEntry);
    child = next;
  }
  entries_[id].first_child = kNoEntry;
}

}  // namespace kvpool::index
