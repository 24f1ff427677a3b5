// EvictionGroup: blocks that go for one another, those of one tenant, by a policy of their own.
#pragma once

#include <cstdint>
#include <memory>

#include "index/chunked_vector.h"
#include "index/eviction_policy.h"

namespace kvpool::index {

// What the policy knows a block by. Each group counts its own, so that all policies' dense vectors
// together are as long as one's for all blocks would be. With one group it is the EntryId.
using Seat = EntryId;

// About 12 bytes a block beside the policy's.
// Threads: one at a time.
class EvictionGroup {
 public:
  // `weight`: what it may hold beside others where all are full, see Pressure. At least 1.
  explicit EvictionGroup(std::unique_ptr<EvictionPolicy> policy, std::uint32_t weight = 1);

  void SetWeight(std::uint32_t weight);

  // The policy's calls. `parent`: a seat. `now` never runs backwards.
  Seat Insert(EntryId entry, const BlockTraits& block, std::uint64_t now);
  void Reference(Seat seat, std::uint64_t now);
  void Relink(Seat seat, Seat parent) { policy_->Relink(seat, parent); }
  void Park(Seat seat) { policy_->Park(seat); }
  void Unpark(Seat seat) { policy_->Unpark(seat); }
  void Erase(Seat seat, Leaving leaving);
  // An erased block's seat is another's from now on.
  void Free(Seat seat);

  // The block that the policy would have go next, kNoEntry when all are parked.
  EntryId Candidate();
  // How much there is to be said for one of this group's blocks going rather than another's: how
  // long all that it holds lies unused, added up, for its weight. 0 where it holds nothing.
  double Pressure(std::uint64_t now) const;

  std::uint64_t slot_bytes = 0;         // what its blocks occupy
  std::uint64_t pinned_slot_bytes = 0;  // those with a pin

 private:
  std::unique_ptr<EvictionPolicy> policy_;
  double weight_ = 1;
  ChunkedVector<EntryId> entries_;  // by seat; of a free one: the next free one
  ChunkedVector<std::uint64_t> last_use_;
  std::uint64_t last_uses_ = 0;  // added up, modulo 2^64: what is wanted of it are differences
  std::uint64_t blocks_ = 0;
  Seat end_ = 0;
  Seat first_free_ = kNoEntry;
};

}  // namespace kvpool::index
