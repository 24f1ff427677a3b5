#include "layout/space_map.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace kvpool::layout {
namespace {

std::uint64_t LowBits(std::uint64_t count) {
  return count >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
}

bool IsSlotSize(std::uint32_t slot_bytes) {
  return slot_bytes >= kMinSlotBytes && slot_bytes <= kSlabBytes && slot_bytes % kIoAlignment == 0;
}

std::uint64_t ClassKey(std::uint32_t space, std::uint32_t slot_bytes) {
  return std::uint64_t{space} << 32 | slot_bytes;
}

}  // namespace

SpaceMap::SpaceMap(std::uint64_t first_byte, std::uint64_t capacity_bytes)
    : first_byte_(first_byte),
      free_slabs_(capacity_bytes > first_byte ? (capacity_bytes - first_byte) / kSlabBytes : 0),
      slabs_(free_slabs_),
      free_slab_bits_(free_slabs_) {
  KVPOOL_CHECK(first_byte % kSlabBytes == 0 && capacity_bytes % kSlabBytes == 0);
  KVPOOL_CHECK(free_slabs_ < kNone);
}

std::uint32_t SpaceMap::SlotBytesAt(std::uint64_t offset) const {
  const Slab& slab = slabs_[(offset - first_byte_) / kSlabBytes];
  KVPOOL_CHECK(slab.owner != kNone);
  return classes_[slab.owner].slot_bytes;
}

std::uint64_t SpaceMap::FreeSlots(std::uint32_t space, std::uint32_t slot_bytes) const {
  KVPOOL_CHECK(IsSlotSize(slot_bytes));
  const auto found = class_of_.find(ClassKey(space, slot_bytes));
  const std::uint64_t own = found == class_of_.end() ? 0 : classes_[found->second].free_slots;
  return own + free_slabs_ * (kSlabBytes / slot_bytes);
}

bool SpaceMap::Allocate(std::uint32_t space, std::uint32_t slot_bytes, std::uint64_t count,
                        std::vector<std::uint64_t>& offsets) {
  if (FreeSlots(space, slot_bytes) < count) return false;
  if (count == 0) return true;
  const std::uint32_t owner = ClassOf(space, slot_bytes);
  const std::uint32_t last = classes_[owner].last;
  if (last != kNone && slabs_[last].owner == owner && slabs_[last].free != 0) {
    TakeFrom(last, count, offsets);
  }
  TakeWholeSlabs(owner, count, offsets);
  TakePartSlabs(owner, count, offsets);
  if (count > 0) {
    const std::uint32_t slab = NextFreeSlab(classes_[owner]);
    Claim(slab, owner);
    TakeFrom(slab, count, offsets);
  }
  KVPOOL_CHECK(count == 0);
  return true;
}

void SpaceMap::TakeWholeSlabs(std::uint32_t owner, std::uint64_t& count,
                              std::vector<std::uint64_t>& offsets) {
  while (count >= classes_[owner].slots && free_slabs_ > 0) {
    const std::uint32_t slab = NextFreeSlab(classes_[owner]);
    Claim(slab, owner);
    TakeFrom(slab, count, offsets);
  }
}

// The smallest gap that holds the rest, else the emptiest slabs first.
void SpaceMap::TakePartSlabs(std::uint32_t owner, std::uint64_t& count,
                             std::vector<std::uint64_t>& offsets) {
  while (count > 0 && classes_[owner].filled != 0) {
    const Class& own = classes_[owner];
    const std::uint64_t enough = count > kMaxSlots ? 0 : own.filled & ~LowBits(count - 1);
    const int bucket =
        enough != 0 ? std::countr_zero(enough) + 1 : 64 - std::countl_zero(own.filled);
    TakeFrom(own.heads[bucket], count, offsets);
  }
}

// Takes up to `count` of the slab's free slots in ascending order, in one run where one is long
// enough.
void SpaceMap::TakeFrom(std::uint32_t slab, std::uint64_t& count,
                        std::vector<std::uint64_t>& offsets) {
  const Class& own = classes_[slabs_[slab].owner];
  std::uint64_t free = slabs_[slab].free;
  std::uint64_t starts = free;  // bits where a run of `count` free slots begins
  for (std::uint64_t i = 1; i < std::min<std::uint64_t>(count, 64) && starts != 0; ++i)
    starts &= free >> i;
  const std::uint64_t pick_from = starts != 0 ? free & ~LowBits(std::countr_zero(starts)) : free;

  std::uint64_t left = pick_from;
  for (; left != 0 && count > 0; --count) {
    const int slot = std::countr_zero(left);
    left &= left - 1;
    free &= ~(std::uint64_t{1} << slot);
    offsets.push_back(first_byte_ + slab * kSlabBytes + std::uint64_t{own.slot_bytes} * slot);
  }
  classes_[slabs_[slab].owner].last = slab;
  SetFree(slab, free);
}

std::uint32_t SpaceMap::NextFreeSlab(const Class& owner) const {
  const std::size_t from = owner.last == kNone ? 0 : std::size_t{owner.last} + 1;
  std::size_t slab = free_slab_bits_.Next(from);
  if (slab == BitTree::kNone) slab = free_slab_bits_.Next(0);
  KVPOOL_CHECK(slab != BitTree::kNone);
  return static_cast<std::uint32_t>(slab);
}

void SpaceMap::Free(std::uint64_t offset) {
  KVPOOL_CHECK(offset >= first_byte_ && (offset - first_byte_) / kSlabBytes < slabs_.size());
  const auto slab = static_cast<std::uint32_t>((offset - first_byte_) / kSlabBytes);
  KVPOOL_CHECK(slabs_[slab].owner != kNone);
  const Class& own = classes_[slabs_[slab].owner];
  const std::uint64_t within = (offset - first_byte_) % kSlabBytes;
  const std::uint64_t slot = within / own.slot_bytes;
  KVPOOL_CHECK(within % own.slot_bytes == 0 && slot < own.slots);
  const std::uint64_t bit = std::uint64_t{1} << slot;
  KVPOOL_CHECK((slabs_[slab].free & bit) == 0);
  SetFree(slab, slabs_[slab].free | bit);
}

bool SpaceMap::Reserve(std::uint32_t space, std::uint32_t slot_bytes, std::uint64_t offset) {
  if (!IsSlotSize(slot_bytes) || offset < first_byte_) return false;
  const std::uint64_t index = (offset - first_byte_) / kSlabBytes;
  const std::uint64_t within = (offset - first_byte_) % kSlabBytes;
  if (index >= slabs_.size() || within % slot_bytes != 0) return false;
  if (within / slot_bytes >= kSlabBytes / slot_bytes) return false;

  const auto slab = static_cast<std::uint32_t>(index);
  if (slabs_[slab].owner == kNone) Claim(slab, ClassOf(space, slot_bytes));
  const std::uint64_t bit = std::uint64_t{1} << (within / slot_bytes);
  if (classes_[slabs_[slab].owner].key != ClassKey(space, slot_bytes)) return false;
  if ((slabs_[slab].free & bit) == 0) return false;
  SetFree(slab, slabs_[slab].free & ~bit);
  return true;
}

std::uint32_t SpaceMap::ClassOf(std::uint32_t space, std::uint32_t slot_bytes) {
  KVPOOL_CHECK(IsSlotSize(slot_bytes));
  const std::uint64_t key = ClassKey(space, slot_bytes);
  const auto found = class_of_.find(key);
  if (found != class_of_.end()) return found->second;
  auto added = static_cast<std::uint32_t>(classes_.size());
  if (resting_classes_.empty()) {
    classes_.emplace_back();
  } else {
    added = resting_classes_.back();
    resting_classes_.pop_back();
    classes_[added] = {};
  }
  classes_[added].key = key;
  classes_[added].slot_bytes = slot_bytes;
  classes_[added].slots = static_cast<std::uint32_t>(kSlabBytes / slot_bytes);
  class_of_[key] = added;
  return added;
}

void SpaceMap::Claim(std::uint32_t slab, std::uint32_t owner) {
  KVPOOL_CHECK(slabs_[slab].owner == kNone);
  slabs_[slab].owner = owner;
  slabs_[slab].free = LowBits(classes_[owner].slots);
  classes_[owner].free_slots += classes_[owner].slots;
  classes_[owner].slabs += 1;
  free_slab_bits_.Remove(slab);
  --free_slabs_;
  Link(slab, classes_[owner].slots);
}

// Every change of a claimed slab's slots comes through here; one that is empty again leaves its
// class, and a class without slabs goes.
void SpaceMap::SetFree(std::uint32_t slab, std::uint64_t free) {
  Class& own = classes_[slabs_[slab].owner];
  const auto before = static_cast<std::uint32_t>(std::popcount(slabs_[slab].free));
  const auto after = static_cast<std::uint32_t>(std::popcount(free));
  slabs_[slab].free = free;
  own.free_slots = own.free_slots + after - before;
  used_bytes_ =
      used_bytes_ + std::uint64_t{before} * own.slot_bytes - std::uint64_t{after} * own.slot_bytes;
  Unlink(slab, before);
  if (after < own.slots) {
    Link(slab, after);
    return;
  }
  own.free_slots -= own.slots;
  own.slabs -= 1;
  if (own.slabs == 0) {
    class_of_.erase(own.key);
    resting_classes_.push_back(slabs_[slab].owner);
  }
  slabs_[slab].owner = kNone;
  free_slab_bits_.Insert(slab);
  ++free_slabs_;
}

void SpaceMap::Link(std::uint32_t slab, std::uint32_t bucket) {
  if (bucket == 0) return;
  Class& own = classes_[slabs_[slab].owner];
  slabs_[slab].previous = kNone;
  slabs_[slab].next = own.heads[bucket];
  if (own.heads[bucket] != kNone) slabs_[own.heads[bucket]].previous = slab;
  own.heads[bucket] = slab;
  own.filled |= std::uint64_t{1} << (bucket - 1);
}

void SpaceMap::Unlink(std::uint32_t slab, std::uint32_t bucket) {
  if (bucket == 0) return;
  Class& own = classes_[slabs_[slab].owner];
  const Slab& gone = slabs_[slab];
  if (gone.next != kNone) slabs_[gone.next].previous = gone.previous;
  if (gone.previous != kNone) {
    slabs_[gone.previous].next = gone.next;
    return;
  }
  own.heads[bucket] = gone.next;
  if (gone.next == kNone) own.filled &= ~(std::uint64_t{1} << (bucket - 1));
}

}  // namespace kvpool::layout
