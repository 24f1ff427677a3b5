#include "index/policies/hit_density.h"

#include <algorithm>
#include <cmath>

namespace kvpool::index {
namespace {

// Values stand still for an epoch: 1/64 of what the cache holds.
constexpr std::uint64_t kMinEpoch = 64;
constexpr std::uint64_t kEpochsPerCache = 64;
constexpr std::uint64_t kMinLesson = 1024;
constexpr std::uint64_t kLessonsPerCache = 8;

}  // namespace

HitDensityPolicy::HitDensityPolicy() = default;
HitDensityPolicy::~HitDensityPolicy() = default;

void HitDensityPolicy::Insert(EntryId entry, const BlockTraits& block) {
  nodes_.Cover(std::size_t{entry} + 1);
  links_.Cover(std::size_t{entry} + 1);
  if (block.parent == kNoEntry || block.parent != last_used_) EndRequest();
  Node& node = nodes_[entry];
  node = Node{};
  node.hash = block.hash;
  node.parent = block.parent;
  node.uses = watch_.UsesOf(block.hash);
  ++size_;
  if (block.parent != kNoEntry) {
    Node& parent = nodes_[block.parent];
    Leave(block.parent);  // before its class changes
    ++parent.children;
    if (parent.block_class == kEndOfChain && !parent.in_request) {
      parent.block_class = ClassOfUses(parent.uses);
      watch_.Reclassify(parent.hash, parent.block_class);
    }
    Settle(block.parent);
  }
  Use(entry);
}

void HitDensityPolicy::Reference(EntryId entry) {
  const Node& node = nodes_[entry];
  if (node.parent == kNoEntry || node.parent != last_used_) EndRequest();
  Use(entry);
}

void HitDensityPolicy::Use(EntryId entry) {
  Leave(entry);
  Node& node = nodes_[entry];
  node.last_use = ++now_;
  node.orphan = false;
  if (node.uses < 0xffff) ++node.uses;
  if (!node.in_request) request_.push_back(entry);
  node.in_request = true;
  last_used_ = entry;
}

void HitDensityPolicy::EndRequest() {
  for (const EntryId entry : request_) {
    Node& node = nodes_[entry];
    if (!node.in_request) continue;  // erased meanwhile
    node.in_request = false;
    const bool end_of_chain = node.children == 0 && node.uses == 1;
    node.block_class = end_of_chain ? kEndOfChain : ClassOfUses(node.uses);
    watch_.Use(node.hash, node.block_class, node.uses, node.last_use, size_);
    Settle(entry);
  }
  request_.clear();
  last_used_ = kNoEntry;
  if (now_ >= next_epoch_) BeginEpoch();
}

void HitDensityPolicy::Erase(EntryId entry, Leaving) {
  Leave(entry);
  Node& node = nodes_[entry];
  node.in_request = false;
  --size_;
  if (last_used_ == entry) last_used_ = kNoEntry;
  if (node.parent == kNoEntry) return;
  // The rest of the chain goes on from here: it is as old, and stands first among its like.
  --CountOf(node);
  Settle(node.parent, End::kOldest);
}

std::uint32_t& HitDensityPolicy::CountOf(const Node& child) {
  Node& parent = nodes_[child.parent];
  return child.parked ? parent.parked_children : parent.children;
}

void HitDensityPolicy::Relink(EntryId entry, EntryId parent) {
  Leave(entry);
  Node& node = nodes_[entry];
  node.parent = parent;
  node.orphan = parent == kNoEntry;
  Settle(entry);
  if (parent == kNoEntry) return;
  ++CountOf(node);
  Settle(parent);
}

EntryId HitDensityPolicy::Victim() {
  for (;;) {
    if (!orphans_.empty()) return orphans_.oldest();
    while (!ranking_.empty()) {
      Group& group = *ranking_.front().group;
      if (!group.blocks.empty()) return group.blocks.oldest();
      group.ranked = false;
      std::pop_heap(ranking_.begin(), ranking_.end());
      ranking_.pop_back();
    }
    if (request_.empty()) return last_resort_.oldest();
    EndRequest();  // nothing else is left
  }
}

void HitDensityPolicy::Park(EntryId entry) {
  Leave(entry);
  Node& node = nodes_[entry];
  if (node.parent != kNoEntry) --CountOf(node);
  node.parked = true;
  if (node.parent == kNoEntry) return;
  ++CountOf(node);
  Settle(node.parent);
}

void HitDensityPolicy::Unpark(EntryId entry) {
  Node& node = nodes_[entry];
  if (node.parent != kNoEntry) --CountOf(node);
  node.parked = false;
  Settle(entry, End::kOldest);
  if (node.parent == kNoEntry) return;
  ++CountOf(node);
  Settle(node.parent);
}

void HitDensityPolicy::Leave(EntryId entry) {
  Node& node = nodes_[entry];
  if (node.place == Place::kOrphans) orphans_.Remove(links_, entry);
  if (node.place == Place::kLastResort) last_resort_.Remove(links_, entry);
  if (node.place == Place::kRanked) {
    groups_.Of(node.last_use).payload[node.block_class].blocks.Remove(links_, entry);
  }
  node.place = Place::kNone;
}

void HitDensityPolicy::Settle(EntryId entry, End end) {
  Leave(entry);
  Node& node = nodes_[entry];
  if (node.parked || node.in_request) return;
  if (node.orphan) {
    node.place = Place::kOrphans;
    orphans_.PushNewest(links_, entry);
    return;
  }
  if (node.children > 0) return;
  if (node.parked_children > 0) {
    node.place = Place::kLastResort;
    last_resort_.PushNewest(links_, entry);
    return;
  }
  node.place = Place::kRanked;
  auto& bucket = groups_.Of(node.last_use);
  Group& group = bucket.payload[node.block_class];
  if (end == End::kOldest) {
    group.blocks.PushOldest(links_, entry);
  } else {
    group.blocks.PushNewest(links_, entry);
  }
  if (group.ranked) return;
  AddRank(bucket, node.block_class);
  std::push_heap(ranking_.begin(), ranking_.end());
}

void HitDensityPolicy::AddRank(AgeBuckets<Groups>::Bucket& bucket, BlockClass block_class) {
  Group& group = bucket.payload[block_class];
  group.ranked = true;
  const std::uint64_t age = now_ - std::min(now_, bucket.start);
  ranking_.push_back({model_.Value(block_class, age), bucket.start, &group});
}

void HitDensityPolicy::BeginEpoch() {
  groups_.Open(now_ + 1, [this](Groups& into, Groups& later) {
    for (std::size_t c = 0; c < kBlockClasses; ++c) {
      into[c].blocks.AppendNewer(links_, later[c].blocks);
    }
  });
  if (now_ >= next_lesson_) {
    watch_.Report(now_);
    const std::uint64_t lesson = std::max(kMinLesson, size_ / kLessonsPerCache);
    const std::uint64_t half_life = std::max(ReuseWatch::kWatched, ReuseWatch::kLookBack * size_);
    model_.Learn(std::exp2(-static_cast<double>(lesson) / static_cast<double>(half_life)));
    next_lesson_ = now_ + lesson;
  }
  ranking_.clear();
  groups_.ForEach([this](auto& bucket) {
    for (std::size_t c = 0; c < kBlockClasses; ++c) {
      bucket.payload[c].ranked = false;
      if (!bucket.payload[c].blocks.empty()) AddRank(bucket, static_cast<BlockClass>(c));
    }
  });
  std::make_heap(ranking_.begin(), ranking_.end());
  next_epoch_ = now_ + std::max(kMinEpoch, size_ / kEpochsPerCache);
}

}  // namespace kvpool::index
