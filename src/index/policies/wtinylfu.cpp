#include "index/policies/wtinylfu.h"

#include <algorithm>

namespace kvpool::index {

void WTinyLfuPolicy::Insert(EntryId entry, const BlockTraits& block) {
  nodes_.Cover(std::size_t{entry} + 1);
  links_.Cover(std::size_t{entry} + 1);
  nodes_[entry] = {.hash = block.hash};
  EntryList& window = ListOf(Part::kWindow);
  window.PushNewest(links_, entry);
  sketch_.Fit(size());
  sketch_.Add(block.hash);
  while (window.size() > std::max<std::size_t>(1, size() / 100)) {
    candidate_ = window.oldest();
    Move(candidate_, Part::kProbation);
  }
}

void WTinyLfuPolicy::Reference(EntryId entry) {
  const Node& node = nodes_[entry];
  sketch_.Add(node.hash);
  Move(entry, node.part == Part::kWindow ? Part::kWindow : Part::kProtected);
  if (candidate_ == entry) candidate_ = kNoEntry;
  EntryList& guarded = ListOf(Part::kProtected);
  while (guarded.size() > size() * 8 / 10) Move(guarded.oldest(), Part::kProbation);
}

void WTinyLfuPolicy::Erase(EntryId entry, Leaving) {
  if (!nodes_[entry].parked) ListOf(nodes_[entry]).Remove(links_, entry);
  if (candidate_ == entry) candidate_ = kNoEntry;
}

EntryId WTinyLfuPolicy::Victim() {
  const EntryId oldest = !ListOf(Part::kProbation).empty()   ? ListOf(Part::kProbation).oldest()
                         : !ListOf(Part::kProtected).empty() ? ListOf(Part::kProtected).oldest()
                                                             : ListOf(Part::kWindow).oldest();
  if (candidate_ == kNoEntry || oldest == kNoEntry) return oldest;
  const bool admit =
      sketch_.Estimate(nodes_[candidate_].hash) > sketch_.Estimate(nodes_[oldest].hash);
  return admit ? oldest : candidate_;
}

void WTinyLfuPolicy::Park(EntryId entry) {
  ListOf(nodes_[entry]).Remove(links_, entry);
  nodes_[entry].parked = true;
  if (candidate_ == entry) candidate_ = kNoEntry;
}

void WTinyLfuPolicy::Unpark(EntryId entry) {
  ListOf(nodes_[entry]).PushOldest(links_, entry);
  nodes_[entry].parked = false;
}

void WTinyLfuPolicy::Move(EntryId entry, Part part) {
  Node& node = nodes_[entry];
  if (!node.parked) ListOf(node).Remove(links_, entry);
  node.part = part;
  if (!node.parked) ListOf(node).PushNewest(links_, entry);
}

}  // namespace kvpool::index
