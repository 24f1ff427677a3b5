#include "index/policies/arc.h"

#include <algorithm>

namespace kvpool::index {

void ArcPolicy::Insert(EntryId entry, const BlockTraits& block) {
  nodes_.Cover(std::size_t{entry} + 1);
  links_.Cover(std::size_t{entry} + 1);
  const auto present = static_cast<double>(once_.size() + often_.size());
  const auto once_ghosts = static_cast<double>(once_ghosts_.size());
  const auto often_ghosts = static_cast<double>(often_ghosts_.size());
  const bool was_once = once_ghosts_.Remove(block.hash);
  was_often_ghost_ = !was_once && often_ghosts_.Remove(block.hash);
  if (was_once) {
    once_target_ = std::min(present, once_target_ + std::max(1.0, often_ghosts / once_ghosts));
  } else if (was_often_ghost_) {
    once_target_ = std::max(0.0, once_target_ - std::max(1.0, once_ghosts / often_ghosts));
  }
  nodes_[entry] = {.hash = block.hash, .often = was_once || was_often_ghost_};
  ListOf(nodes_[entry]).PushNewest(links_, entry);
}

void ArcPolicy::Reference(EntryId entry) {
  Node& node = nodes_[entry];
  if (!node.parked) ListOf(node).Remove(links_, entry);
  node.often = true;
  if (!node.parked) often_.PushNewest(links_, entry);
}

void ArcPolicy::Erase(EntryId entry, Leaving leaving) {
  const Node& node = nodes_[entry];
  if (!node.parked) ListOf(node).Remove(links_, entry);
  if (leaving != Leaving::kEvicted) return;
  (node.often ? often_ghosts_ : once_ghosts_).Push(node.hash);
  const std::size_t present = once_.size() + often_.size();
  once_ghosts_.Trim(present - std::min(present, once_.size()));
  often_ghosts_.Trim(2 * present - std::min(2 * present, present + once_ghosts_.size()));
}

EntryId ArcPolicy::Victim() {
  const auto once = static_cast<double>(once_.size());
  const bool from_once =
      !once_.empty() && (once > once_target_ || (was_often_ghost_ && once == once_target_));
  if (from_once || often_.empty()) return once_.oldest();
  return often_.oldest();
}

void ArcPolicy::Park(EntryId entry) {
  ListOf(nodes_[entry]).Remove(links_, entry);
  nodes_[entry].parked = true;
}

void ArcPolicy::Unpark(EntryId entry) {
  ListOf(nodes_[entry]).PushOldest(links_, entry);
  nodes_[entry].parked = false;
}

}  // namespace kvpool::index
