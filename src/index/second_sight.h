// SecondSight: which blocks are worth a write. Three quarters of all blocks of a conversation trace
// are never used again (docs/eviction.md): one that comes a second time has shown that it is not
// one of them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "index/ghost_list.h"

namespace kvpool::index {

// Remembers the hashes of the last `hashes` different keys that were put; about 30 bytes each.
// Threads: one at a time.
class SecondSight {
 public:
  explicit SecondSight(std::size_t hashes) : hashes_(hashes) {}

  // True when it was seen before and is not forgotten. Now it is seen.
  bool Admit(std::uint64_t hash) {
    const bool seen = ghosts_.Remove(hash);
    ghosts_.Push(hash);
    ghosts_.Trim(hashes_);
    return seen;
  }

 private:
  const std::size_t hashes_;
  GhostList ghosts_;
};

}  // namespace kvpool::index
