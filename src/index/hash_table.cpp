#include "index/hash_table.h"

#include <algorithm>

namespace kvpool::index {

HashTable::HashTable() {
  segments_.push_back(std::make_unique<Segment>());
  directory_.push_back(segments_.back().get());
}

void HashTable::Place(Segment& segment, Slot slot) {
  std::size_t i = HomeOf(slot.tag);
  while (segment.slots[i].id != kNoEntry) i = Next(i);
  segment.slots[i] = slot;
  ++segment.used;
}

void HashTable::Erase(std::uint64_t hash, EntryId id) {
  Segment& segment = SegmentOf(hash);
  std::size_t hole = HomeOf(static_cast<std::uint32_t>(hash));
  while (segment.slots[hole].id != id) {
    KVPOOL_CHECK(segment.slots[hole].id != kNoEntry);
    hole = Next(hole);
  }
  // Closes the gap: what stands behind it moves up unless that would put it before its home.
  for (std::size_t i = Next(hole); segment.slots[i].id != kNoEntry; i = Next(i)) {
    const std::size_t home = HomeOf(segment.slots[i].tag);
    if ((i - home) % kSlots >= (i - hole) % kSlots) {
      segment.slots[hole] = segment.slots[i];
      hole = i;
    }
  }
  segment.slots[hole] = Slot{};
  --segment.used;
}

HashTable::Segment& HashTable::AddSibling(std::size_t index) {
  Segment& old = *directory_[index];
  if (old.depth == depth_) {
    KVPOOL_CHECK(depth_ < 31);
    std::vector<Segment*> doubled(directory_.size() * 2);
    for (std::size_t i = 0; i < doubled.size(); ++i) doubled[i] = directory_[i / 2];
    directory_ = std::move(doubled);
    ++depth_;
    index *= 2;
  }
  segments_.push_back(std::make_unique<Segment>());
  Segment& upper = *segments_.back();
  ++old.depth;
  upper.depth = old.depth;
  old.used = 0;
  old.slots.fill(Slot{});
  const std::size_t run = std::size_t{1} << (depth_ - old.depth);  // directory places of each half
  const std::size_t first = index / (2 * run) * (2 * run);
  std::fill_n(directory_.begin() + static_cast<std::ptrdiff_t>(first + run), run, &upper);
  return upper;
}

}  // namespace kvpool::index
