#include "index/policies/s3fifo.h"

#include <algorithm>

namespace kvpool::index {

void S3FifoPolicy::Insert(EntryId entry, const BlockTraits& block) {
  nodes_.Cover(std::size_t{entry} + 1);
  links_.Cover(std::size_t{entry} + 1);
  nodes_[entry] = {.hash = block.hash, .in_main = ghosts_.Remove(block.hash)};
  ListOf(nodes_[entry]).PushNewest(links_, entry);
}

void S3FifoPolicy::Reference(EntryId entry) {
  auto& uses = nodes_[entry].uses;
  uses = static_cast<std::uint8_t>(std::min(uses + 1, 3));
}

void S3FifoPolicy::Erase(EntryId entry, Leaving leaving) {
  const Node& node = nodes_[entry];
  if (!node.parked) ListOf(node).Remove(links_, entry);
  if (leaving == Leaving::kEvicted && !node.in_main) {
    ghosts_.Push(node.hash);
    ghosts_.Trim((small_.size() + main_.size()) * 9 / 10);
  }
}

EntryId S3FifoPolicy::Victim() {
  const std::size_t small_share = (small_.size() + main_.size()) / 10;
  for (;;) {
    const bool from_small = !small_.empty() && (small_.size() > small_share || main_.empty());
    EntryList& from = from_small ? small_ : main_;
    const EntryId entry = from.oldest();
    if (entry == kNoEntry) return kNoEntry;
    Node& node = nodes_[entry];
    if (node.uses <= (from_small ? 1 : 0)) return entry;
    // Amortised: in the main queue every step takes back one use.
    from.Remove(links_, entry);
    node.uses = static_cast<std::uint8_t>(from_small ? 0 : node.uses - 1);
    node.in_main = true;
    main_.PushNewest(links_, entry);
  }
}

void S3FifoPolicy::Park(EntryId entry) {
  ListOf(nodes_[entry]).Remove(links_, entry);
  nodes_[entry].parked = true;
}

void S3FifoPolicy::Unpark(EntryId entry) {
  ListOf(nodes_[entry]).PushOldest(links_, entry);
  nodes_[entry].parked = false;
}

}  // namespace kvpool::index
