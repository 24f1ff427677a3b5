#include "index/eviction_group.h"

#include <utility>

#include "base/check.h"

namespace kvpool::index {

EvictionGroup::EvictionGroup(std::unique_ptr<EvictionPolicy> policy, std::uint32_t weight)
    : policy_(std::move(policy)) {
  KVPOOL_CHECK(policy_ != nullptr);
  SetWeight(weight);
}

void EvictionGroup::SetWeight(std::uint32_t weight) {
  KVPOOL_CHECK(weight > 0);
  weight_ = weight;
}

Seat EvictionGroup::Insert(EntryId entry, const BlockTraits& block, std::uint64_t now) {
  Seat seat = first_free_;
  if (seat != kNoEntry) {
    first_free_ = entries_[seat];
  } else {
    seat = end_++;
    entries_.Cover(end_);
    last_use_.Cover(end_);
  }
  entries_[seat] = entry;
  ++blocks_;
  last_uses_ += now;
  last_use_[seat] = now;
  policy_->Insert(seat, block);
  return seat;
}

void EvictionGroup::Reference(Seat seat, std::uint64_t now) {
  last_uses_ += now - std::exchange(last_use_[seat], now);
  policy_->Reference(seat);
}

void EvictionGroup::Erase(Seat seat, Leaving leaving) {
  --blocks_;
  last_uses_ -= last_use_[seat];
  policy_->Erase(seat, leaving);
}

void EvictionGroup::Free(Seat seat) { entries_[seat] = std::exchange(first_free_, seat); }

EntryId EvictionGroup::Candidate() {
  const Seat seat = policy_->Victim();
  return seat == kNoEntry ? kNoEntry : entries_[seat];
}

// By the whole and not by the candidate: policies that let new blocks prove themselves always offer
// a young one. Nobody's blocks stay for ever for being few, and who streams through the pool mostly
// pays for it alone: among groups that store r new blocks a second and never use one again, room
// goes by weight times the root of r.
double EvictionGroup::Pressure(std::uint64_t now) const {
  if (blocks_ == 0) return 0;
  const auto idle = static_cast<double>(now * blocks_ - last_uses_ + blocks_);
  const double bytes = static_cast<double>(slot_bytes) / static_cast<double>(blocks_);
  return idle / weight_ * bytes / weight_;
}

}  // namespace kvpool::index
