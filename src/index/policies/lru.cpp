#include "index/policies/lru.h"

namespace kvpool::index {

void LruPolicy::Insert(EntryId entry, const BlockTraits&) {
  nodes_.Cover(std::size_t{entry} + 1);
  PushNewest(entry);
}

void LruPolicy::Reference(EntryId entry) {
  if (nodes_[entry].place == Place::kParked) {
    nodes_[entry].last_use = ++now_;
    return;
  }
  Remove(entry);
  PushNewest(entry);
}

void LruPolicy::Erase(EntryId entry, Leaving) {
  if (nodes_[entry].place != Place::kParked) Remove(entry);
}

EntryId LruPolicy::Victim() {
  if (returned_.empty()) return oldest_;
  const auto& [last_use, entry] = *returned_.begin();
  return oldest_ == kNoEntry || last_use < nodes_[oldest_].last_use ? entry : oldest_;
}

void LruPolicy::Park(EntryId entry) {
  Remove(entry);
  nodes_[entry].place = Place::kParked;
}

void LruPolicy::Unpark(EntryId entry) {
  nodes_[entry].place = Place::kReturned;
  returned_.emplace(nodes_[entry].last_use, entry);
}

void LruPolicy::PushNewest(EntryId entry) {
  Node& node = nodes_[entry];
  node = {.newer = kNoEntry, .older = newest_, .last_use = ++now_, .place = Place::kList};
  (newest_ == kNoEntry ? oldest_ : nodes_[newest_].newer) = entry;
  newest_ = entry;
}

void LruPolicy::Remove(EntryId entry) {
  Node& node = nodes_[entry];
  if (node.place == Place::kReturned) {
    returned_.erase({node.last_use, entry});
    return;
  }
  (node.newer == kNoEntry ? newest_ : nodes_[node.newer].older) = node.older;
  (node.older == kNoEntry ? oldest_ : nodes_[node.older].newer) = node.newer;
}

}  // namespace kvpool::index
