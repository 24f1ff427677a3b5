#include "index/policies/reuse_watch.h"

#include <algorithm>

namespace kvpool::index {

EntryId ReuseWatch::Find(std::uint64_t hash) const {
  return table_.Find(hash, [&](EntryId id) { return blocks_[id].hash == hash; });
}

std::uint16_t ReuseWatch::UsesOf(std::uint64_t hash) const {
  const EntryId id = Find(hash);
  return id == kNoEntry ? std::uint16_t{0} : blocks_[id].uses;
}

void ReuseWatch::Use(std::uint64_t hash, BlockClass block_class, std::uint16_t uses,
                     std::uint64_t now, std::size_t present) {
  EntryId id = Find(hash);
  if (id != kNoEntry) {
    const Block& block = blocks_[id];
    model_.AddUse(block.block_class, now - block.last_use);
    counts_.Of(block.last_use).payload[block.block_class] -= 1;
    by_last_use_.Remove(links_, id);
    if (!Sampled(hash)) return Remove(id);
  } else if (Sampled(hash)) {
    id = Add(hash, now, present);
  } else {
    return;
  }
  blocks_[id] = {.hash = hash, .last_use = now, .uses = uses, .block_class = block_class};
  by_last_use_.PushNewest(links_, id);
  counts_.Of(now).payload[block_class] += 1;
}

void ReuseWatch::Reclassify(std::uint64_t hash, BlockClass block_class) {
  const EntryId id = Find(hash);
  if (id == kNoEntry) return;
  Counts& counts = counts_.Of(blocks_[id].last_use).payload;
  counts[blocks_[id].block_class] -= 1;
  counts[block_class] += 1;
  blocks_[id].block_class = block_class;
}

void ReuseWatch::Report(std::uint64_t now) {
  counts_.Open(now + 1, [](Counts& into, const Counts& later) {
    for (std::size_t c = 0; c < kBlockClasses; ++c) into[c] += later[c];
  });
  model_.ClearWatched();
  counts_.ForEach([&](const auto& bucket) {
    const std::uint64_t age = now + 1 - bucket.start;
    for (std::size_t c = 0; c < kBlockClasses; ++c) {
      model_.AddWatched(static_cast<BlockClass>(c), age, bucket.payload[c]);
    }
  });
}

EntryId ReuseWatch::Add(std::uint64_t hash, std::uint64_t now, std::size_t present) {
  if (by_last_use_.size() == kWatched) {
    const EntryId oldest = by_last_use_.oldest();
    const Block& block = blocks_[oldest];
    model_.AddEnd(block.block_class, now - block.last_use);
    counts_.Of(block.last_use).payload[block.block_class] -= 1;
    by_last_use_.Remove(links_, oldest);
    AdaptRate(now - block.last_use, present);
    Remove(oldest);
  }
  EntryId id = free_;
  if (id != kNoEntry) {
    free_ = links_[id].older;
  } else {
    id = end_++;
    blocks_.Cover(end_);
    links_.Cover(end_);
  }
  blocks_[id].hash = hash;
  table_.Insert(hash, id, [this](EntryId other) { return blocks_[other].hash; });
  ++added_at_rate_;
  return id;
}

void ReuseWatch::Remove(EntryId id) {
  table_.Erase(blocks_[id].hash, id);
  links_[id].older = free_;
  free_ = id;
}

void ReuseWatch::AdaptRate(std::uint64_t look_back, std::size_t present) {
  // What a rate brings shows once the whole sample was taken at it.
  if (added_at_rate_ < kWatched) return;
  const std::uint64_t wanted = std::uint64_t{kLookBack} * present;
  if (look_back < wanted) {
    rate_ = std::max(rate_ / 2, 1u);
  } else if (look_back / 4 > wanted) {
    rate_ = std::min(rate_ * 2, kWholeRate);
  } else {
    return;
  }
  added_at_rate_ = 0;
}

}  // namespace kvpool::index
