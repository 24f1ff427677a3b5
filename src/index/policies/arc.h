// ARC (Megiddo, Modha: "ARC: a self-tuning, low overhead replacement cache", FAST 2003), for
// comparison.
#pragma once

#include "index/chunked_vector.h"
#include "index/entry_list.h"
#include "index/eviction_policy.h"
#include "index/ghost_list.h"

namespace kvpool::index {

// The paper's c is the number of blocks that are present when room is needed.
class ArcPolicy final : public EvictionPolicy {
 public:
  void Insert(EntryId entry, const BlockTraits& block) override;
  void Reference(EntryId entry) override;
  void Erase(EntryId entry, Leaving leaving) override;
  EntryId Victim() override;
  void Park(EntryId entry) override;
  void Unpark(EntryId entry) override;

 private:
  struct Node {
    std::uint64_t hash = 0;
    bool often = false;  // in T2
    bool parked = false;
  };

  EntryList& ListOf(const Node& node) { return node.often ? often_ : once_; }

  ChunkedVector<Node> nodes_;
  EntryLinks links_;
  EntryList once_;          // T1
  EntryList often_;         // T2
  GhostList once_ghosts_;   // B1
  GhostList often_ghosts_;  // B2
  double once_target_ = 0;  // p
  bool was_often_ghost_ = false;
};

}  // namespace kvpool::index
