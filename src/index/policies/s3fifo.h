// S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction",
// SOSP 2023), for comparison.
#pragma once

#include "index/chunked_vector.h"
#include "index/entry_list.h"
#include "index/eviction_policy.h"
#include "index/ghost_list.h"

namespace kvpool::index {

// The small queue has a tenth of the blocks that are present when room is needed.
class S3FifoPolicy final : public EvictionPolicy {
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
    std::uint8_t uses = 0;  // since it was queued, at most 3
    bool in_main = false;
    bool parked = false;
  };

  EntryList& ListOf(const Node& node) { return node.in_main ? main_ : small_; }

  ChunkedVector<Node> nodes_;
  EntryLinks links_;
  EntryList small_;
  EntryList main_;
  GhostList ghosts_;  // left the small queue; as many as the main queue has
};

}  // namespace kvpool::index
