// HitDensityPolicy: the policy that a pool uses by default.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "index/chunked_vector.h"
#include "index/entry_list.h"
#include "index/eviction_policy.h"
#include "index/policies/age_buckets.h"
#include "index/policies/reuse_model.h"
#include "index/policies/reuse_watch.h"

namespace kvpool::index {

// Evicts the block whose place brings the fewest hits, as LHD does (Beckmann, Chen, Cidon: "LHD:
// improving cache hit rate by maximizing hit density", NSDI 2018), with three differences: values
// are Gittins indices of learned life tables; a chain goes from its end, never a block before one
// that is chained to it; and a block whose ancestors have gone goes before all others. The older
// block goes among equals. A hit is worth the block's bytes and so is its room: sizes cancel.
//
// A request is a run of Insert and Reference in which each block is the next in the chain; its
// blocks are not offered while it lasts, as long as there are others.
//
// 40 bytes a block.
class HitDensityPolicy final : public EvictionPolicy {
 public:
  HitDensityPolicy();
  ~HitDensityPolicy() override;
  HitDensityPolicy(const HitDensityPolicy&) = delete;
  HitDensityPolicy& operator=(const HitDensityPolicy&) = delete;

  void Insert(EntryId entry, const BlockTraits& block) override;
  void Reference(EntryId entry) override;
  void Erase(EntryId entry, Leaving leaving) override;
  EntryId Victim() override;
  void Park(EntryId entry) override;
  void Unpark(EntryId entry) override;
  void Relink(EntryId entry, EntryId parent) override;

 private:
  enum class Place : std::uint8_t { kNone, kRanked, kOrphans, kLastResort };
  struct Node {
    std::uint64_t last_use = 0;
    std::uint64_t hash = 0;
    EntryId parent = kNoEntry;
    std::uint32_t children = 0;  // those that are not parked
    std::uint32_t parked_children = 0;
    std::uint16_t uses = 0;
    BlockClass block_class = 0;
    Place place : 4 = Place::kNone;
    bool parked : 1 = false;
    bool orphan : 1 = false;
    bool in_request : 1 = false;
  };
  static_assert(sizeof(Node) == 32);

  // Blocks of one class that were used at about the same time.
  struct Group {
    EntryList blocks;
    bool ranked = false;  // stands in ranking_
  };
  using Groups = std::array<Group, kBlockClasses>;
  struct Rank {
    double value;
    std::uint64_t start;
    Group* group;
    // For a heap with the least worth, then the oldest, at the front.
    bool operator<(const Rank& other) const {
      return value != other.value ? value > other.value : start > other.start;
    }
  };
  enum class End { kNewest, kOldest };

  void Use(EntryId entry);
  void EndRequest();
  std::uint32_t& CountOf(const Node& child);
  // Takes the block out of the list it stands in, and puts it into the one where it belongs now.
  void Leave(EntryId entry);
  void Settle(EntryId entry, End end = End::kNewest);
  void AddRank(AgeBuckets<Groups>::Bucket& bucket, BlockClass block_class);
  void BeginEpoch();

  ChunkedVector<Node> nodes_;
  EntryLinks links_;
  EntryList orphans_;
  EntryList last_resort_;      // all that is chained to them is parked
  AgeBuckets<Groups> groups_;  // of blocks without children; see Settle
  std::vector<Rank> ranking_;  // a heap, valued at the epoch's begin
  ReuseModel model_;
  ReuseWatch watch_{model_};
  std::size_t size_ = 0;
  std::uint64_t now_ = 0;  // block references so far
  std::uint64_t next_epoch_ = 0;
  std::uint64_t next_lesson_ = 0;
  std::vector<EntryId> request_;  // blocks of the request in progress
  EntryId last_used_ = kNoEntry;
};

}  // namespace kvpool::index
