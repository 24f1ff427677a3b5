// SpaceIds: the numbers of spaces, and which of them are free.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "catalog/catalog.h"

namespace kvpool::catalog {

// 1 to kMaxSpaceId. Threads: one.
class SpaceIds {
 public:
  // The smallest that is free; 0: none is.
  std::uint32_t Next() {
    while (next_ <= kMaxSpaceId && taken_[next_]) ++next_;
    return next_ <= kMaxSpaceId ? next_ : 0;
  }
  void Take(std::uint32_t id) { taken_[id] = true; }
  void Free(std::uint32_t id) {
    taken_[id] = false;
    next_ = std::min(next_, id);
  }

 private:
  std::vector<bool> taken_ = std::vector<bool>(kMaxSpaceId + 1);
  std::uint32_t next_ = 1;  // none below it is free
};

}  // namespace kvpool::catalog
